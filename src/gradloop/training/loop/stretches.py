"""Handing Lightning several batches at a time, where nothing needs to see each."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from gradloop.callbacks.hook import Hook
from gradloop.data.batches import Batches

BATCH_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
TURN = 0.05  # seconds after which callbacks get a say, at the latest


class Stretch:
    """The rest of an epoch: what the training loop takes several batches of in a turn.

    left: batches. whole: they are so few that all of them are one turn.
    """

    def __init__(self, batches: Batches, loop: Any) -> None:
        self._source, self._loop = batches, loop
        self.whole = False
        self.begin()

    def begin(self) -> None:
        """Go on from where the run stands to the end of its epoch."""
        self._batches = self._source.rest(self._loop.epoch, self._loop.batch)
        self.left = self._loop.length - self._loop.batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return next(self._batches)


class TrainingBatches:
    """The rest of an epoch, as Lightning is handed it: `train_dataloader()`.

    Without a length, Lightning looks one element ahead to know the last one. Where several batches are trained at
    once, each element is the same `Stretch`; unless it is whole, the last of them is empty.
    """

    def __init__(self, batches: Batches, loop: Any) -> None:
        self._batches = batches
        self._loop = loop

    def __iter__(self) -> Any:
        loop = self._loop
        stretch = Stretch(self._batches, loop)
        if loop.several:
            while stretch.left:
                stretch.whole = not loop.epochs.more and stretch.left * loop.pace < TURN
                yield stretch
                if stretch.whole:
                    return
            return
        for number, batch in enumerate(stretch):
            yield batch
            if number == 0:  # Lightning looks one ahead: it counts the first when it asks for the second
                loop.count_skipped()


def several_at_once(trainer: pl.Trainer, module: Any, data: pl.LightningDataModule) -> bool:
    """Return whether nothing needs to see each batch by itself.

    That is so on one device in 32-bit precision, without a profiler and validation inside an epoch, if every
    callback that has batch hooks is a `Hook`, and the data have no hooks that see them on their way.
    """
    return (
        trainer.world_size == 1
        and trainer.precision == "32-true"
        and type(trainer.profiler) is PassThroughProfiler
        and not isinstance(trainer.val_check_interval, int)
        and not any(is_overridden(hook, module) for hook in ("optimizer_step", "backward", *BATCH_HOOKS[2:5]))
        and not any(is_overridden(hook, data) for hook in TRANSFER_HOOKS)
        and not any(
            is_overridden(hook, callback, pl.Callback)
            for hook in BATCH_HOOKS
            for callback in trainer.callbacks
            if not isinstance(callback, Hook)
        )
    )
