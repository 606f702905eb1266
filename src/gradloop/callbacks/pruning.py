"""Ending a run early that its sweep has given up on."""

import math
import time
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from gradloop.callbacks.hook import Hook
from gradloop.errors import RunPruned
from gradloop.runs.reporting import answered, report

PATIENCE = 0.5  # seconds that a run waits for what its sweep says of an epoch
LOOK = 0.005


class Pruning(Hook, Checkpoint):
    """Reports the monitored metric to the sweep every epoch; raises `RunPruned` when the sweep says so.

    A run in a sweep that prunes has it. A sweep that does not answer in time is not waited for again until it has
    caught up. It is a `Checkpoint` to Lightning so that it runs after the epoch's metrics are complete and its
    checkpoint is considered.
    """

    answers = True
    any_module = True
    order = 3

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        folder, epoch, reason = self.run.folder, trainer.current_epoch, None
        told = trainer.is_global_zero and tell(folder, epoch, self.run.history[-1].get(self.monitor))
        if told and epoch + 1 != trainer.max_epochs:  # nothing would be saved by pruning in the last
            reason = self.answer(folder, epoch)
        if trainer.world_size > 1:
            reason = trainer.strategy.broadcast(reason)
        if reason is not None:
            raise RunPruned(reason)

    def answer(self, folder: Path, epoch: int) -> str | None:
        """Wait for what the sweep says of an epoch: why the run is to end there, or None."""
        until = time.monotonic() + PATIENCE
        while True:
            seen, reason = answered(folder)
            self.answers = seen >= epoch or (self.answers and time.monotonic() < until)
            if seen >= epoch or not self.answers:
                return reason
            time.sleep(LOOK)


def tell(folder: Path, epoch: int, measured: float | None) -> bool:
    """Report an epoch to the sweep; return whether there was anything to report."""
    if measured is None or not math.isfinite(measured):
        return False
    report(folder, epoch, measured)
    return True
