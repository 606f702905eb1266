"""Members of a population side by side: what trains them as one, as long as that does what each does alone."""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch

from gradloop.callbacks.averaging import EMA
from gradloop.callbacks.divergence import Divergence
from gradloop.callbacks.tensorboard_pages import TensorBoardPages
from gradloop.errors import GradloopError
from gradloop.runs.planning import Config
from gradloop.training.loop.position import place_of
from gradloop.training.parts import Parts
from gradloop.training.population.checks import Checked, check, why_alone
from gradloop.training.population.data import Tables, load_tables
from gradloop.training.population.measures import Measures, Seen
from gradloop.training.population.member import Member
from gradloop.training.population.stacked import Stack, StackError


class OtherSizesError(GradloopError):
    """The data of these runs have other sizes. groups: those whose data have the same."""

    def __init__(self, groups: list[list[Config]]) -> None:
        super().__init__("data: the parts of these runs have other sizes")
        self.groups = groups


ROUNDS = "torch's batched kernels round otherwise than a lone run's (sweep.population=exact)"


class Members:
    """Members of one shape, side by side as one stack.

    loop: of the first run's module; it says where all of them stand. stack, tables and `rows` belong together: row i
    of the stack is member `rows[i]`, alive or not. seen: of the epoch, up to now. exact: refuse what a stack would
    round otherwise. Raises StackError where these runs can't be trained as one.
    """

    def __init__(self, group: Sequence[Config], *, exact: bool = False) -> None:
        parts = self.parts = Parts(group[0].values, group[0].allow, [])
        self.module, self.trainer = parts.module, parts.trainer
        if (why := why_alone(parts)) is not None:
            raise StackError(why)
        self.loop = parts.module.loop
        self.loop.plan(self.trainer, parts.data)
        if group[0].checkpoint is not None:
            self.loop.stand_at(place_of(group[0].checkpoint))
        kinds: dict[type, Any] = {type(callback): callback for callback in parts.callbacks}
        self.guarded, self.ema, self.pages = Divergence in kinds, kinds.get(EMA), kinds.get(TensorBoardPages)
        self.max_epochs = int(self.trainer.max_epochs or 1)
        built: dict[str, Any] = {}
        datas = load_tables(parts, group)
        by_sizes: dict[str, list[Config]] = {}
        for config, data in zip(group, datas, strict=True):
            sizes = str([(split.inputs.shape, split.targets.shape) for split in data.splits.values()])
            by_sizes.setdefault(sizes, []).append(config)
        if len(by_sizes) > 1:
            raise OtherSizesError(list(by_sizes.values()))
        self.members = [Member(*each, built) for each in zip(group, [parts] * len(group), datas, strict=True)]
        if not all(member.alike for member in self.members):
            raise StackError("model or loss: the seed decides more of it than its weights")
        # side by side what shares its numbers
        alive = sorted((member for member in self.members if member.alive), key=lambda member: member.numbers.key)
        if len(alive) < 2:
            raise StackError("no other run is like it")
        self.checked = self._check(alive)
        if exact and not self.checked.exact:
            raise StackError(ROUNDS)
        self.measures = Measures(self.module.task, self.module.epoch_metrics or [])
        self.line = [n for w in self.module.line or () for n, p in self.module.network.named_parameters() if p is w]
        self._take(alive)
        batches = [zip(member.meter.outputs, member.meter.targets, strict=True) for member in alive]
        for batch in zip(*batches, strict=True):
            outputs, targets = map(torch.stack, zip(*batch, strict=True))
            self.seen.batches.append((outputs, targets))

    def nothing(self) -> Seen:
        """Nothing seen yet, of an epoch or a part."""
        losses = [(rows, self.rows[rows.start].numbers.loss) for rows, _ in self.stack.losses]
        return Seen(self.measures, losses)

    def _check(self, rows: list[Member]) -> Checked:
        return check(self._stack_of(rows), Tables(rows), rows, self.parts)

    def _stack_of(self, rows: list[Member]) -> Stack:
        return Stack(
            self.module.network,
            [member.numbers for member in rows],
            [member.state for member in rows],
            steps=self.loop.steps(self.max_epochs, -1),
            average=self.ema is not None,
            clip_algorithm=self.loop.clip_algorithm,
        )

    def _take(self, rows: list[Member]) -> None:
        self.rows, self.tables = rows, Tables(rows)
        self.stack = self._stack_of(rows)
        self.seen = self.nothing()
        for place, member in enumerate(rows):
            member.stack, member.place = self.stack, place

    @property
    def alive(self) -> list[Member]:
        return [member for member in self.rows if member.alive]

    def pack(self) -> None:
        """Go on without the rows of those that have left, if that keeps the others' bits.

        Two rows stay: for one, the BLAS library may take another kernel.
        """
        gone = [member for member in self.rows if not member.alive]
        kept = gone[: max(0, 2 - len(self.alive))]
        rows = [member for member in self.rows if member.alive or member in kept]
        if len(rows) == len(self.rows):
            return
        for member in rows:
            member.state = self.stack.state_of(member.place, waiting=False)
        with contextlib.suppress(StackError):
            checked = self._check(rows)
            if checked.exact >= self.checked.exact:
                self.checked = checked
                self._take(rows)
