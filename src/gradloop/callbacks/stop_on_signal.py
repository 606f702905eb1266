"""Ending a run between two batches when a signal asks for it."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging

from gradloop.callbacks.checkpoints import Checkpoints
from gradloop.errors import RunInterrupted

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGUSR1: "SIGUSR1"}


class StopOnSignal(Checkpoint):
    """SIGTERM, Ctrl-C and SLURM's USR1: finish the batch, save, raise RunInterrupted. A second signal ends at once.

    One order may come as two signals, from a process group and from its sweep: within a second they are one.

    The handler only takes a note: nothing is saved from inside it. It is a `Checkpoint` to Lightning so that it
    runs last in each hook, after the epoch's metrics are complete.
    """

    sparse = True

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        for number in NAMES:
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: the caller handles signals
                break
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self._since = now
        elif number != signal.SIGUSR1 and now - self._since > 1.0:
            os._exit(128 + number)
        self.received = number

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        # the epoch's last batch is followed by validation and the epoch's end: they stop the run
        if self.received and not trainer.fit_loop.epoch_loop._num_ready_batches_reached():
            self._stop(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if not self.received:
            return
        if trainer.state.fn == "fit" and trainer.fit_loop.epoch_loop._num_ready_batches_reached():
            # say that the validation was interrupted at its first batch: it is run again as a whole
            progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
            for tracker in (progress.total, progress.current):
                tracker.ready, tracker.started, tracker.processed, tracker.completed = 1, 1, 0, 0
            progress.is_last_batch = False
            for callback in trainer.callbacks:
                if isinstance(callback, WeightAveraging):
                    callback.on_validation_epoch_end(trainer, pl_module)  # take the averaged weights out again
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.received:
            self._stop(trainer)

    def on_test_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.received:
            raise RunInterrupted(f"stopped by {NAMES[signal.Signals(self.received)]}", signal_number=self.received)

    def _stop(self, trainer: pl.Trainer) -> None:
        assert self.received is not None
        message = f"stopped by {NAMES[signal.Signals(self.received)]}"
        for callback in trainer.callbacks:
            if isinstance(callback, Checkpoints):
                callback.save(trainer)
                message += f"; go on with: gradloop-train resume={trainer.default_root_dir}"
        raise RunInterrupted(message, signal_number=self.received)
