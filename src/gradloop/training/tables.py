"""The data of many runs as tensors side by side: one table that all share, or one for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gradloop.data.batches import Split, epoch_order
from gradloop.data.data_module import DataModule
from gradloop.runs.planning import Planned
from gradloop.training.parts import Parts


def load_tables(parts: Parts, group: Sequence[Planned]) -> list[DataModule]:
    """Return each run's data module; runs whose data can't differ share one. parts: those of the first run."""
    first = group[0].values["data"]
    loaded: dict[str, DataModule] = {}
    found = []
    for planned in group:
        values = planned.values["data"]
        seeded = parts.data.seeded_rows
        key = repr({name: value for name, value in values.items() if seeded or name != "seed"})
        if key not in loaded:
            data = parts.data if values == first else parts.build.data(values, planned.values["seed"])
            data.check()
            data.setup("fit")
            loaded[key] = data
        found.append(loaded[key])
    return found


class Tables:
    """Batches `[M, B, ...]` of M members, each in its own order: member i sees what it would see alone."""

    def __init__(self, members: Sequence[Any]) -> None:
        self.members = members
        self.datas = list({id(member.data): member.data for member in members}.values())
        index = {id(data): number for number, data in enumerate(self.datas)}
        self.table_of = torch.tensor([index[id(member.data)] for member in members])
        self.data = self.datas[0]
        self.weights = [data.sample_weights() for data in self.datas]
        self.parts = {part: self._stacked(part) for part in ("train", "val")}

    @property
    def differ(self) -> bool:
        """Whether the tables have other shapes: then there is no stack of them."""
        return any(not inputs.numel() for inputs, _ in self.parts.values())

    def _stacked(self, part: str) -> tuple[Tensor, Tensor]:
        """The inputs and targets of every table: [tables, N, ...]; empty ones where they have other shapes."""
        splits: list[Split] = [data.splits[part] for data in self.datas]
        if any(
            s.inputs.shape != splits[0].inputs.shape or s.targets.shape != splits[0].targets.shape for s in splits
        ):
            return torch.zeros(0), torch.zeros(0)
        if len(splits) == 1:
            return splits[0].inputs[None], splits[0].targets[None]
        return torch.stack([s.inputs for s in splits]), torch.stack([s.targets for s in splits])

    def begin(self, epoch: int) -> None:
        """Draw the members' orders of an epoch."""
        self.order: Tensor | None = None
        if self.data.shuffle:
            size = len(self.data.splits["train"])
            drawn = [
                (self._seed(member), int(table)) for member, table in zip(self.members, self.table_of, strict=True)
            ]
            orders = {
                (seed, table): epoch_order(size, seed=seed, epoch=epoch, shuffle=True, weights=self.weights[table])
                for seed, table in set(drawn)
            }
            self.order = torch.stack([orders[each] for each in drawn])  # [M, N]

    def _seed(self, member: Any) -> int:
        return member.data.seed if member.data.seeded_rows else member.values["data"]["seed"]

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        rows = slice(number * self.data.batch_size, (number + 1) * self.data.batch_size)
        if self.order is None:
            return self._rows("train", rows)
        chosen, (inputs, targets) = self.order[:, rows], self.parts["train"]
        if len(self.datas) == 1:
            return inputs[0][chosen], targets[0][chosen]
        return inputs[self.table_of[:, None], chosen], targets[self.table_of[:, None], chosen]

    def part(self, part: str, limit: float | int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of a part in its own order, as many as a lone run evaluates."""
        size = self.data.val_dataloader().batch_size
        count = -(-self.parts[part][0].shape[1] // size)
        for number in range(int(count * limit) if isinstance(limit, float) else min(count, limit)):
            yield self._rows(part, slice(number * size, (number + 1) * size))

    def _rows(self, part: str, rows: slice) -> tuple[Tensor, Tensor]:
        """Some rows of every member's table, in their order: views where all share one."""
        inputs, targets = (whole[:, rows] for whole in self.parts[part])
        if len(self.datas) == 1:
            members = len(self.members)
            return inputs.expand(members, *inputs.shape[1:]), targets.expand(members, *targets.shape[1:])
        return inputs[self.table_of], targets[self.table_of]
