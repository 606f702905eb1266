"""Ending a run between two batches when a signal asks for it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from lightning.pytorch.utilities.model_helpers import is_overridden

from gradloop.callbacks.attributes import is_own
from gradloop.callbacks.averaging import Averaging
from gradloop.callbacks.hook import Hook, agreed
from gradloop.config.overrides import to_paste
from gradloop.errors import RunInterrupted
from gradloop.runs.signals import NAMES, Listening, stop_at_once, take_note

WATCHING = (
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
)


class StopOnSignal(Hook, Checkpoint):
    """Once the training has begun, a signal only leaves a note: finish the batch, save, raise RunInterrupted.

    Before that there is nothing to save: the run ends at once. A signal that comes too late to stop anything is
    handed on to who had the handler before: a program of several runs must not go on. Several processes of a run
    stop after the same batch, whichever of them got the signal.

    It is a `Checkpoint` to Lightning so that it runs last in each hook, after the epoch's metrics are complete.
    """

    any_module = True
    order = 2

    def __enter__(self) -> StopOnSignal:
        self.listening = Listening(stop_at_once).__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        for handler in self.listening.before.values() if kind is None else ():
            waiting = getattr(handler, "__self__", None)
            if isinstance(waiting, Listening) and waiting.first is stop_at_once:
                waiting.first = take_note  # the command has its result: a page is all that is missing
        self.listening.__exit__()
        number = self.listening.received
        before = self.listening.before.get(number or 0)
        listener = getattr(before, "__self__", None)
        commands_own = isinstance(listener, Listening) and listener.first is stop_at_once  # it has its result
        if number and kind is not RunInterrupted and callable(before) and not commands_own:
            before(number, None)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.listening.first = take_note
        self.listening.again()  # Lightning's own handler for SIGTERM ends the run wherever it is, without saving

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.listening.again()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if not self.loop.announces:
            self.between(trainer, pl_module)

    def between(self, trainer: pl.Trainer, module: Any) -> None:
        if self.loop.savable:
            self._stop_if_asked(trainer, module)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        # a run that goes on from here validates first, from the beginning
        fitting = trainer.state.fn == "fit" and self.loop.savable
        if not (self.listening.received and fitting and trainer.world_size == 1):
            return
        if not self._watched(trainer, pl_module):
            for callback in trainer.callbacks:
                if isinstance(callback, Averaging | WeightAveraging):
                    callback.on_validation_epoch_end(trainer, pl_module)  # take the averaged weights out again
            self._stop_if_asked(trainer, pl_module)

    def _watched(self, trainer: pl.Trainer, module: Any) -> bool:
        """Whether own code acts in a validation: what it changes may be put right at its end only."""
        own = [each for each in (*trainer.callbacks, module) if is_own(type(each).__module__)]
        base = {True: pl.LightningModule, False: pl.Callback}
        return any(is_overridden(hook, each, base[each is module]) for hook in WATCHING for each in own)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        last = self.loop.epoch == trainer.max_epochs or self.loop.step == trainer.max_steps or self.loop.stops
        if not last and not self.loop.announces:  # else its end comes next, and says so in what is saved
            self._stop_if_asked(trainer, pl_module)

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self.listening.received and trainer.world_size == 1:
            self._raise()

    def _stop_if_asked(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if asked := agreed(trainer, self.listening.received or 0):
            self.listening.received = asked
            for callback in trainer.callbacks:
                if isinstance(callback, Hook):
                    callback.stopped(trainer, pl_module)
            self._raise()

    on_train_end = _stop_if_asked

    def _raise(self) -> None:
        number = self.listening.received
        assert number is not None
        saved = (self.run.checkpoints / "last.ckpt").exists()
        more = f"; go on with: {to_paste('train', 'resume', self.run.folder, self.run.allow)}" if saved else ""
        raise RunInterrupted(f"stopped by {NAMES[number]}{more}", signal_number=number)
