"""Lightning's own loop, which trains a LightningModule of the user's, and from where in an epoch it goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from gradloop.callbacks.hook import Hook
from gradloop.data.batches import Batches
from gradloop.seeds import stream_seed
from gradloop.training.loop.position import Position


class OwnLoop(Position):
    """Lightning's loop. exact: on gradloop's data, whose batches it takes from where the run stands."""

    own = True

    def __init__(self, module: pl.LightningModule, *, seed: int, exact: bool) -> None:
        super().__init__(module)
        self.seed, self.exact, self.announces = seed, exact, exact
        self.seen = 0  # batches: what loggers count by, where each may have several steps
        self.waiting = False  # whether a validation, a scheduler or Lightning's count has the newest batch before it
        self.whole = True  # whether no epoch is between its last batch and its end

    @property
    def savable(self) -> bool:
        return (self.exact or self.whole) and super().savable

    def plan(self, trainer: pl.Trainer, data: Any) -> None:
        self.accumulate = trainer.accumulate_grad_batches
        if self.exact:
            super().plan(trainer, data)

    def batches(self, batches: Batches) -> Rest:
        return Rest(batches, self)

    def reseed(self, stream: str, number: int = 0) -> None:
        """Make what is drawn next depend on (seed, epoch, number) alone."""
        seed = stream_seed(self.seed, stream, self.epoch) + number
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed % 2**63)

    def between(self) -> None:
        """Let callbacks save, or stop the run: all that follows a batch, or an epoch, is done."""
        self.waiting = False
        for callback in self.trainer.callbacks:
            if isinstance(callback, Hook):
                callback.between(self.trainer, self.module)

    @property
    def accumulating(self) -> bool:
        return bool(self.batch % self.accumulate) and not self.at_epochs_end

    @property
    def counted(self) -> int:
        """What loggers count by."""
        done = self.step if self.module.automatic_optimization else self.seen
        return done - (self.waiting and not self.accumulating)

    def state(self) -> dict[str, int]:
        return super().state() | {"seen": self.seen, "waiting": int(self.waiting)}

    def load(self, state: dict[str, int]) -> None:
        super().load(state)
        self.seen = state.get("seen", self.step)
        self.waiting = bool(state.get("waiting", self.batch))
        self.tell_steps(self.counted)

    def tell_steps(self, stepped: int) -> None:
        super().tell_steps(stepped)
        optimizer = self.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer
        optimizer.step.total.completed = self.step


class Rest:
    """The rest of an epoch, as Lightning is handed it; as long as a whole one, since schedules are made by that."""

    def __init__(self, batches: Batches, loop: OwnLoop) -> None:
        self._batches, self._loop = batches, loop

    def __len__(self) -> int:
        return self._loop.length

    def __iter__(self) -> Iterator[Any]:
        loop = self._loop
        loop.count_skipped()
        rest = islice(self._batches.rest(loop.epoch, loop.batch), loop.length - loop.batch)
        for number, batch in enumerate(rest):
            if number:  # Lightning has done all that follows the batch before
                loop.between()
            yield batch
