"""A user's callbacks: they send the run's own process a signal, or note the rates."""

from __future__ import annotations

import os
from typing import Any

import lightning.pytorch as pl

from gradloop.callbacks.hook import Hook

RATES: list[list[float]] = []  # of all groups, with which each step was taken


class StopAtStep(Hook):
    """After an optimizer step. The environment's STOP_AT: the signal's number and the step; -2: as a test begins.

    With a LightningModule of the user's it is in the batch that follows.
    """

    any_module = True

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        number, step = map(int, os.environ.get("STOP_AT", "0 -1").split())
        if step == -2:
            os.kill(os.getpid(), number)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self.loop.own:
            self.after_step(self)

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


class LogBatches(pl.Callback):
    """Logs each batch, and the epoch's mean, as Lightning's callbacks may."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.log("mine/index", float(index), on_step=True, on_epoch=False)


class LogMeans(pl.Callback):
    """Logs what has a mean over the epoch, a largest value and a sum."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
        for how in ("mean", "max", "sum"):
            value = float(outputs["loss"]) + index
            pl_module.log(f"mine/{how}", value, on_step=False, on_epoch=True, reduce_fx=how)


class NoteRates(Hook):
    def before_step(self, module: Any, loss: Any) -> None:
        RATES.append([group["lr"] for group in module.loop.trainer.optimizers[0].param_groups])


class Accumulates(pl.Callback):
    """Sets what gradloop's loop takes from the config."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        trainer.accumulate_grad_batches = 4


class EndsProgram(pl.Callback):
    """Ends as a script would, or as if Ctrl-C had been pressed. how: `sys.exit`'s code, or "interrupt"."""

    def __init__(self, how: Any) -> None:
        self.how = how

    def on_train_epoch_end(self, *_: Any) -> None:
        raise KeyboardInterrupt if self.how == "interrupt" else SystemExit(self.how)
