"""How far the training is."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning.pytorch as pl

from gradloop.callbacks.hook import Hook


class Progress(Hook):
    """A bar with epoch, loss, metrics and the time left; plain lines where there is no terminal to draw on.

    every_seconds: between plain lines; the first and the last epoch always have theirs.
    """

    def __init__(self, *, every_seconds: float) -> None:
        self.every_seconds = every_seconds
        self.next_line = 0.0
        self.bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.next_line = 0.0
        if not trainer.is_global_zero or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        if console.is_dumb_terminal:
            return
        self.bar = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self.bar.start()
        self.task = self.bar.add_task("", total=trainer.max_epochs)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is not None and time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + 0.1
            share = pl_module.loop.batch / pl_module.loop.length
            row = pl_module.run.history[-1] if pl_module.run.history else {}
            self.bar.update(self.task, completed=trainer.current_epoch + share, description=describe(row))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.bar is not None or not trainer.is_global_zero:
            return
        # this hook runs before the module's: the row of the epoch before is the newest whole one
        if pl_module.run.history and time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + self.every_seconds
            self._line(trainer, pl_module.run.history[-1])

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.bar is None and trainer.is_global_zero and pl_module.run.history:
            self._line(trainer, pl_module.run.history[-1])
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._close()

    def _line(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        print(f"epoch {row['epoch'] + 1:.0f}/{trainer.max_epochs}  {describe(row)}", file=sys.stderr, flush=True)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def describe(row: dict[str, float]) -> str:
    """Return "train/loss 0.1234  val/accuracy 0.987" for a row of measurements."""
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items() if "/" in name)
