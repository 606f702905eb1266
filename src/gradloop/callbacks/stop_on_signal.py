"""Ending a run between two batches when a signal asks for it."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging

from gradloop.callbacks.averaging import Averaging
from gradloop.callbacks.hook import Hook
from gradloop.errors import RunInterrupted

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
NAMES |= {getattr(signal, name): name for name in ("SIGUSR1", "SIGHUP") if hasattr(signal, name)}  # not on Windows


class StopOnSignal(Hook, Checkpoint):
    """Ctrl-C, SIGTERM, a closed terminal (SIGHUP), SLURM's USR1: finish the batch, save, raise RunInterrupted.

    A second signal ends at once. What the process was started to ignore (`nohup`) stays ignored. A signal that comes
    too late to stop anything is handed on to who had the handler before: a sweep must not go on.

    One order may come as two signals, from a process group and from its sweep: within a second they are one.

    The handler only takes a note: nothing is saved from inside it. It is a `Checkpoint` to Lightning so that it
    runs last in each hook, after the epoch's metrics are complete.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.raised = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        for number in NAMES:
            if signal.getsignal(number) is signal.SIG_IGN:
                continue
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: the caller handles signals
                break
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        handler = self._before.get(self.received or 0)
        if not self.raised and callable(handler) and handler is not signal.default_int_handler:
            handler(self.received, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self._since = now
        elif number != signal.SIGUSR1 and now - self._since > 1.0:
            os._exit(128 + number)
        self.received = number

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self.received:
            self._stop(trainer, pl_module)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        # a run that goes on from here validates first, from the beginning
        if self.received and trainer.state.fn == "fit":
            for callback in trainer.callbacks:
                if isinstance(callback, Averaging | WeightAveraging):
                    callback.on_validation_epoch_end(trainer, pl_module)  # take the averaged weights out again
            self._stop(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.received:
            self._stop(trainer, pl_module)

    def on_test_batch_end(self, *_: Any) -> None:
        if self.received:
            self._raise("")

    def _stop(self, trainer: pl.Trainer, module: Any) -> None:
        for callback in trainer.callbacks:
            if isinstance(callback, Hook):
                callback.stopped(trainer, module)
        saved = (module.run.checkpoints / "last.ckpt").exists()
        self._raise(f"; go on with: gradloop-train resume={module.run.folder}" if saved else "")

    def _raise(self, more: str) -> None:
        assert self.received is not None
        self.raised = True
        name = NAMES[signal.Signals(self.received)]
        raise RunInterrupted(f"stopped by {name}{more}", signal_number=self.received)
