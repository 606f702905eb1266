"""From one epoch to the next inside a turn, where nothing foreign watches."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.utilities.model_helpers import is_overridden

from gradloop.callbacks.hook import Hook
from gradloop.data.data_module import DataModule

VALIDATION = ("start", "epoch_start", "batch_start", "batch_end", "epoch_end", "end")
CALLED = ("on_train_epoch_start", "on_train_epoch_end", *(f"on_validation_{moment}" for moment in VALIDATION))


class Epochs:
    """What Lightning does between an epoch's last batch and the next one's first, in its order.

    It validates, calls the hooks of module and callbacks, and counts: a small model's epoch takes less time than
    Lightning's own way to the next.
    """

    def __init__(self, trainer: pl.Trainer, module: Any, data: Any) -> None:
        self.trainer, self.module = trainer, module
        watching = [(name, callback) for name in CALLED for callback in trainer.callbacks if sees(callback, name)]
        self.possible = (
            all(is_ours(callback) for callback in trainer.callbacks)
            and not is_overridden("val_dataloader", data, DataModule)
            and not trainer.reload_dataloaders_every_n_epochs
        )
        self.hooks = [callback for callback in trainer.callbacks if isinstance(callback, Hook)]
        self.followed = any(isinstance(callback, EarlyStopping) for callback in trainer.callbacks)  # are metrics
        self.calls: dict[str, list[Callable[..., None]]] = {name: [] for name in (*CALLED, "measured")}
        for name, callback in watching:
            # after the module's, as Lightning does
            late = name == "on_train_epoch_end" and isinstance(callback, Checkpoint | EarlyStopping)
            self.calls["measured" if late else name].append(getattr(callback, name))

    @property
    def more(self) -> bool:
        """Whether another epoch follows this one, and Lightning is not needed for that."""
        trainer, loop = self.trainer, self.module.loop
        if not self.possible or trainer.should_stop or loop.epoch + 1 == trainer.max_epochs:
            return False
        if any(hook.stops for hook in self.hooks):
            return False
        if loop.validation_due and not any(trainer.num_val_batches):  # Lightning has yet to ask for them
            return False
        return loop.step != trainer.max_steps

    def next(self) -> None:
        """End the epoch, and begin the next."""
        module, progress = self.module, self.trainer.fit_loop.epoch_progress
        module.loop.tell_steps(module.loop.step)
        if module.loop.validation_due:
            self._validate()
        progress.increment_processed()
        self._call("on_train_epoch_end")
        module.on_train_epoch_end()
        self._call("measured")
        progress.increment_completed()
        progress.increment_ready()
        self._call("on_train_epoch_start")
        module.on_train_epoch_start()
        progress.increment_started()

    def _validate(self) -> None:
        trainer, module = self.trainer, self.module
        modes = [(part, part.training) for part in module.modules()]  # what is frozen may be in evaluation mode
        with torch.no_grad():
            module.eval()
            self._call("on_validation_start")
            self._call("on_validation_epoch_start")
            module.on_validation_epoch_start()
            for index, given in enumerate(islice(trainer.val_dataloaders, int(trainer.num_val_batches[0]))):
                batch = module.transfer_batch_to_device(given, module.device, 0)
                self._call("on_validation_batch_start", batch, index)
                module.validation_step(batch, index)
                self._call("on_validation_batch_end", None, batch, index)
            self._call("on_validation_epoch_end")
            module.on_validation_epoch_end()
            self._call("on_validation_end")
            module.on_validation_end()
        for part, training in modes:
            part.training = training

    def _call(self, name: str, *given: Any) -> None:
        for call in self.calls[name]:
            call(self.trainer, self.module, *given)


def sees(callback: pl.Callback, name: str) -> bool:
    return is_overridden(name, callback, pl.Callback)


def is_ours(callback: pl.Callback) -> bool:
    """Whether a callback is gradloop's, or sees neither turns nor what is between epochs.

    What is not gradloop's may call `self.log`, or ask the Trainer in which stage it is.
    """
    if isinstance(callback, Hook) and type(callback).__module__.startswith("gradloop."):
        return True
    return not any(sees(callback, name) for name in (*CALLED, "on_train_batch_start", "on_train_batch_end"))
