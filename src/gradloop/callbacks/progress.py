"""How far a run is: in training, and in what is evaluated after it."""

import math
import sys
import time
from typing import Any

import lightning.pytorch as pl

from gradloop.callbacks.hook import Hook
from gradloop.runs.screen import clock, number
from gradloop.streams import Waiting, bar_on

LASTING = 6  # times every_seconds: a line that stays, above the bar
BESIDE = 46  # columns that epoch, bar and time left take


NOT_SHOWN = ("epoch", "step", "lr", "weight", "bias")  # of a row


class Progress(Hook):
    """A bar with epoch, metrics and the time left; plain lines where there is no terminal to draw on.

    every_seconds: between plain lines; the first and the last epoch always have theirs. Beside the bar a line that
    stays is printed six times as rarely. On a narrow terminal whole metrics give way, never a number's end.
    """

    any_module = True

    def __init__(self, *, every_seconds: float) -> None:
        self.every_seconds = every_seconds
        self.next_line = 0.0
        self.bar: Any = None
        self.evaluating: Waiting | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.next_line, self.began = 0.0, time.monotonic()
        self.first = trainer.current_epoch
        self.epochs = int(trainer.max_epochs or 1)
        if trainer.max_steps > 0 and 0 < self.loop.length < math.inf:
            an_epoch = math.ceil(self.loop.length / self.loop.accumulate)
            self.epochs = min(self.epochs, math.ceil(trainer.max_steps / an_epoch))
        if trainer.is_global_zero and (bar := bar_on(sys.stderr)) is not None:
            self.bar = bar
            self.next_stays = time.monotonic() + LASTING * self.every_seconds
            self.bar.start()
            self.task = self.bar.add_task("epoch", total=self.epochs, completed=self.first, said="")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is None or time.monotonic() < self.next_line:
            return
        self.next_line = time.monotonic() + 0.1
        done = trainer.current_epoch + self.loop.batch / self.loop.length
        row = self.run.history[-1] if self.run.history else {}
        room = self.bar.console.width - BESIDE
        self.bar.update(self.task, completed=done, said=describe(row, first=self.monitor, room=room))
        if row and time.monotonic() >= self.next_stays:
            self.next_stays = time.monotonic() + LASTING * self.every_seconds
            line = self._line(row, self.bar.console.width)
            self.bar.console.print(line, markup=False, highlight=False)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.bar is not None or not trainer.is_global_zero:
            return
        # the row of the epoch before is whole now; at that epoch's end the module has yet to write it
        row = self.run.history[-1] if self.run.history else {}
        if row.get("epoch", 0) > self.first and time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + self.every_seconds
            print(self._line(row), file=sys.stderr, flush=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.bar is None and trainer.is_global_zero and self.run.history:
            print(self._line(self.run.history[-1]), file=sys.stderr, flush=True)
        self._close()

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            batches = trainer.num_test_batches[0]
            self.evaluating = Waiting("testing", int(batches) if math.isfinite(batches) else None)
            self.evaluating.__enter__()

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self.evaluating is not None:
            self.evaluating.step()

    def _line(self, row: dict[str, float], width: int | None = None) -> str:
        done = int(row["epoch"])
        passed = time.monotonic() - self.began
        left = passed / max(1, done - self.first) * max(0, self.epochs - done)
        ahead = f", {clock(left)} left" if done < self.epochs else ""
        head = f"epoch {done}/{self.epochs}  {clock(passed)}{ahead}  "
        return head + describe(row, first=self.monitor, room=None if width is None else width - len(head))

    def _close(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        if self.evaluating is not None:
            self.evaluating.__exit__(None, None, None)
            self.evaluating = None

    on_test_end = on_exception = _close


def describe(row: dict[str, float], *, first: str = "", room: int | None = None) -> str:
    """Return "val/accuracy 0.987  train/loss 0.1234": the monitored metric first, as many as there is room for."""
    names = sorted((name for name in row if name not in NOT_SHOWN), key=lambda name: name != first)
    said = ""
    for name in names:
        more = f"{said}{'  ' * bool(said)}{name} {number(row[name])}"
        if room is not None and len(more) > room:
            break
        said = more
    return said
