"""Where a run stands, whichever loop trains it: what a checkpoint keeps of it, and what Lightning counts by it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from gradloop.data.batches import limited


class Position:
    """`epoch`, `batch` (of that epoch, trained already) and `step` (of the optimizer) are all of a run's position.

    module: the LightningModule that is trained.
    """

    own = False  # whether the module is the user's
    exact = True  # whether a run goes on from here bit for bit
    announces = False  # whether it calls `Hook.between`, else a batch's end and an epoch's are the moments to save
    accumulate = 1  # batches whose gradients add up to one step

    def __init__(self, module: Any) -> None:
        self.module = module
        self.epoch, self.batch, self.step = 0, 0, 0
        self.length = 0  # batches of an epoch that are trained
        self.settings: tuple[Any, Any] | None = None  # the Trainer's limit_train_batches and val_check_interval
        self.validated = True  # whether the validation that follows the newest batch, if any does, has ended
        self.loss: Tensor | None = None  # of the newest batch, detached

    @property
    def savable(self) -> bool:
        """Whether it may be saved just now: not between the last batch of all and the end of its epoch."""
        return not self.batch or not (self.step == self.trainer.max_steps or self.stops)

    @property
    def stops(self) -> bool:
        """Whether the training was told to end, and has been as long as it is to be at least."""
        fit_loop = self.trainer.fit_loop
        long = self.epoch >= (fit_loop.min_epochs or 0) and self.step >= (fit_loop.min_steps or 0)
        return self.trainer.should_stop and long

    def laid_gradients(self) -> list[Tensor] | None:
        return None

    def __deepcopy__(self, memo: Any) -> Position:
        return self  # there is one: a copy of the module is not trained

    def plan(self, trainer: pl.Trainer, data: Any) -> None:
        """Take over from the Trainer what counts batches. data: the run's DataModule."""
        if self.settings is None:
            self.settings = trainer.limit_train_batches, trainer.val_check_interval
        limit, every = self.settings
        batches = data.batches_an_epoch(trainer.world_size)
        self.length = limited(batches, limit)
        trainer.limit_train_batches = 1.0
        if isinstance(every, float) and every < 1:
            trainer.val_check_interval = max(1, int(self.length * every))

    @property
    def trainer(self) -> pl.Trainer:
        return self.module.trainer

    @property
    def at_epochs_end(self) -> bool:
        return self.batch >= self.length

    @cached_property
    def validates(self) -> bool:  # asked for at every epoch's ends, and the same while it trains
        return bool(self.trainer.enable_validation)

    @property
    def validation_due(self) -> bool:
        """Whether a validation follows the batch that was trained last, and has not ended yet."""
        if self.validated or not self.batch or not self.validates:
            return False
        trainer = self.trainer
        # what is kept is what it ends with: that is validated, too (Lightning, with an own module, does not)
        if not self.own and self.step == trainer.max_steps:
            return True
        if (self.epoch + 1) % (trainer.check_val_every_n_epoch or 1):
            return False
        every = trainer.val_check_interval
        regular = self.batch % every == 0 if isinstance(every, int) else self.at_epochs_end
        return regular or (not self.own and self.at_epochs_end)

    def validate(self) -> None:
        """Validate as Lightning does: for a run that was stopped after the batch and before the validation's end."""
        self.trainer.validating = True
        self.trainer.fit_loop.epoch_loop.val_loop.run()
        self.trainer.training = True

    def count_skipped(self) -> None:
        """Tell Lightning which of a resumed epoch's batches it has: it numbers, accumulates and validates by that."""
        if self.batch:
            current = self.trainer.fit_loop.epoch_loop.batch_progress.current
            current.ready = current.started = current.processed = current.completed = self.batch

    def tell_steps(self, stepped: int) -> None:
        """Keep Lightning's counts of steps true: `trainer.global_step`, and the one that loggers are given."""
        epoch_loop = self.trainer.fit_loop.epoch_loop
        epoch_loop.manual_optimization.optim_step_progress.total.completed = self.step
        epoch_loop.on_load_checkpoint({"_batches_that_stepped": stepped})

    def state(self) -> dict[str, int]:
        return {"epoch": self.epoch, "batch": self.batch, "step": self.step, "validated": int(self.validated)}

    def stand_at(self, state: dict[str, int]) -> None:
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.validated = bool(state["validated"])

    def load(self, state: dict[str, int]) -> None:
        """Stand where a checkpoint was taken, and let Lightning count its epochs and steps from there."""
        self.stand_at(state)
        for progress in (self.trainer.fit_loop.epoch_progress.total, self.trainer.fit_loop.epoch_progress.current):
            progress.ready = progress.started = progress.processed = progress.completed = self.epoch
        self.tell_steps(self.step)


def place_of(checkpoint: dict[str, Any]) -> dict[str, int]:
    """Return where the run of a checkpoint stands; by Lightning's counters, if it is of version 0.1."""
    if position := checkpoint["gradloop"].get("position"):
        return dict(position)
    loops = checkpoint["loops"]["fit_loop"]
    epochs, batches = (loops[name]["current"] for name in ("epoch_progress", "epoch_loop.batch_progress"))
    inside = epochs["started"] != epochs["processed"]
    batch = batches["processed"] if inside else 0
    return {"epoch": epochs["processed"], "batch": batch, "step": checkpoint["global_step"], "validated": 0}
