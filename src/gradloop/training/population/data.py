"""The data of many runs as tensors side by side: one table that all share, or one for each."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gradloop.data.batches import epoch_order, limited
from gradloop.data.data_module import DataModule
from gradloop.data.pictures.picture_store import free_memory
from gradloop.errors import DataError
from gradloop.runs.planning import Config
from gradloop.training.parts import Parts


def load_tables(parts: Parts, group: Sequence[Config]) -> list[DataModule]:
    """Return each run's data module; runs whose data can't differ share one. parts: those of the first run.

    Raises DataError where the tables, which are held side by side as well, would not fit into memory.
    """
    seeded = parts.data.seeded_rows
    own = not type(parts.data).__module__.startswith("gradloop.")  # it may draw from torch's own generator
    keys = []
    for planned in group:
        known = {name: value for name, value in planned.values["data"].items() if seeded or name != "seed"}
        keys.append(repr((known, planned.values["seed"] if own and seeded else None)))
    runs = dict(zip(keys, group, strict=True))
    size = sum(each.nbytes for split in parts.data.splits.values() for each in (split.inputs, split.targets))
    if 2 * (len(runs) - 1) * size > free_memory():
        raise DataError(f"data: {len(runs)} tables of {size / 2**20:,.0f} MB, twice each, do not fit into memory")
    loaded = {keys[0]: parts.data}
    for key in dict.fromkeys(keys[1:]):
        if key not in loaded:
            values = runs[key].values
            data = loaded[key] = parts.build.data(values["data"], values["seed"])
            data.limited = parts.data.limited
            data.check()
            if own:
                parts.build.module(values, data, parts.recipe["facts"])  # seeds, and draws as before its data
            data.setup("fit")
    return [loaded[key] for key in keys]


class Tables:
    """Batches `[M, B, ...]` of M members, each in its own order: member i sees what it would see alone."""

    def __init__(self, members: Sequence[Any]) -> None:
        self.members, self.data = members, members[0].data
        self.datas = list({id(member.data): member.data for member in members}.values())
        self.table_of = torch.tensor([self.datas.index(member.data) for member in members])
        splits = {part: [data.splits[part] for data in self.datas] for part in ("train", "val")}
        self.parts = {  # inputs and targets of every table: [tables, N, ...]
            part: (torch.stack([s.inputs for s in found]), torch.stack([s.targets for s in found]))
            for part, found in splits.items()
        }
        self.weights = [data.sample_weights() for data in self.datas]

    def begin(self, epoch: int) -> None:
        """Draw the members' orders of an epoch: [M, N]."""
        drawn = [(self._seed(member), int(table)) for member, table in zip(self.members, self.table_of, strict=True)]
        size, shuffle = len(self.data.splits["train"]), self.data.shuffle
        orders = {
            (seed, table): epoch_order(size, seed=seed, epoch=epoch, shuffle=shuffle, weights=self.weights[table])
            for seed, table in (set(drawn) if shuffle else ())
        }
        self.order = torch.stack([orders[each] for each in drawn]) if shuffle else None

    def _seed(self, member: Any) -> int:
        return member.data.seed if member.data.seeded_rows else member.values["data"]["seed"]

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        rows = slice(number * self.data.batch_size, (number + 1) * self.data.batch_size)
        if self.order is None:
            return self._rows("train", rows)
        inputs, targets = self.parts["train"]
        chosen = self.table_of[:, None], self.order[:, rows]
        return inputs[chosen], targets[chosen]

    def part(self, part: str, limit: float | int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of a part in its own order, as many as a lone run evaluates."""
        size = self.data.val_dataloader().batch_size
        for number in range(limited(-(-self.parts[part][0].shape[1] // size), limit)):
            yield self._rows(part, slice(number * size, (number + 1) * size))

    def _rows(self, part: str, rows: slice) -> tuple[Tensor, Tensor]:
        """Some rows of every member's table, in their order: views where all share one."""
        inputs, targets = (whole[:, rows] for whole in self.parts[part])
        if len(self.datas) == 1:
            members = len(self.members)
            return inputs.expand(members, *inputs.shape[1:]), targets.expand(members, *targets.shape[1:])
        return inputs[self.table_of], targets[self.table_of]
