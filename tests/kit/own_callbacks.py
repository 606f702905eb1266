"""A user's callbacks: they send the run's own process a signal, or note the rates."""

from __future__ import annotations

import os
from typing import Any

import lightning.pytorch as pl

from gradloop.callbacks.hook import Hook

RATES: list[list[float]] = []  # of all groups, with which each step was taken


class StopAtStep(Hook):
    """After an optimizer step. The environment's STOP_AT: the signal's number and the step."""

    def after_step(self, module: Any) -> None:
        number, step = map(int, os.environ.get("STOP_AT", "0 -1").split())
        if module.loop.step == step:
            os.kill(os.getpid(), number)


class StopInBatch(pl.Callback):
    """In the n-th batch that this process trains on, whatever the module. STOP_AT: the signal's number and n."""

    def __init__(self) -> None:
        self.seen = 0

    def on_train_batch_start(self, *_: Any) -> None:
        number, batch = map(int, os.environ.get("STOP_AT", "0 -1").split())
        self.seen += 1
        if self.seen == batch:
            os.kill(os.getpid(), number)


class StopWhileDrawing(Hook):
    """After the training: a signal that comes too late to stop the run. STOP_AT: its number and anything."""

    def draw(self, *_: Any) -> None:
        os.kill(os.getpid(), int(os.environ.get("STOP_AT", "0").split()[0]))


class NoteRates(Hook):
    def before_step(self, module: Any, loss: Any) -> None:
        RATES.append([group["lr"] for group in module.loop.trainer.optimizers[0].param_groups])
