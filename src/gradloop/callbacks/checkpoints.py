"""Saving by time, keeping the best weights in memory in between."""

import math
import shutil
import time
from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging

from gradloop.callbacks.attributes import Attributes
from gradloop.callbacks.averaging import Averaging
from gradloop.callbacks.hook import Hook, agreed
from gradloop.errors import CheckpointError
from gradloop.runs.checkpoint_files import keep_previous
from gradloop.runs.checkpoint_io import refuse_unloadable
from gradloop.runs.labels import event_folder
from gradloop.runs.run import Best

HELD = ("state_dict", "current_model_state", "averaging_state")  # of what averaging makes, the weights alone are kept


class Checkpoints(Hook, Checkpoint):
    """Writes `best.ckpt` (weights) and `last.ckpt` (everything), the latter with a `previous.ckpt` behind it.

    Saving each epoch with a sync to disk would cost a small model more than its training. So the best weights are
    held in memory, and files are written at most every `every_seconds` (and never so often that saving takes more
    than a twentieth of the time), at the end, on a signal and on divergence.

    The best is that of the run's monitor; a value that is not finite is never the best.
    save_top_k: how many to keep: best.ckpt, best_2.ckpt, …
    """

    def __init__(self, *, every_seconds: float, save_top_k: int) -> None:
        self.every_seconds = every_seconds
        self.save_top_k = save_top_k
        self.written: dict[str, tuple[int, int]] = {}  # file name -> epoch and step whose weights it holds
        self.next_save = 0.0
        self.ended: list[Any] | None = None  # how long the run was to be when its training ended

    any_module = True
    order = 1  # it saves what the others have decided

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse to start where the checkpoints would not fit on the disk."""
        tensors = [t for t in pl_module.state_dict().values() if isinstance(t, torch.Tensor)]
        weights = sum(t.numel() * t.element_size() for t in tensors)
        # last, previous and a temporary one, each with weights, two optimizer moments and the best weights
        needed = weights * (3 * (3 + self.save_top_k) + self.save_top_k) + 2**20
        folder = self.run.folder
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise CheckpointError(
                f"{folder}: {free / 2**20:,.0f} MiB free on this disk; the checkpoints need {needed / 2**20:,.0f} MiB"
            )
        self.next_save = time.monotonic() + self.every_seconds
        if self.ended is not None and self.ended == self._length:  # whatever ended it: a callback of others', say
            trainer.should_stop = True

    @property
    def _length(self) -> list[Any]:
        """How long the run is to be."""
        return [self.run.values["trainer"].get(key) for key in ("max_epochs", "max_steps", "max_time")]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse state that could not be loaded again now, not after an hour at the first save."""
        others = [callback for callback in trainer.callbacks if callback is not self]
        state = pl_module.state_dict().items()
        refuse_unloadable(
            {
                "state_dict": {name: extra for name, extra in state if not isinstance(extra, torch.Tensor)},
                "callbacks": {callback.state_key: callback.state_dict() for callback in others},
                "recipe": self.run.recipe,
                "optimizer_states": [optimizer.state_dict()["param_groups"] for optimizer in trainer.optimizers],
            }
        )

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if not self.loop.announces:
            self.between(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.consider(trainer, pl_module)
        if not self.loop.announces:
            self.between(trainer, pl_module)

    def between(self, trainer: pl.Trainer, module: Any) -> None:
        due = self.loop.savable and time.monotonic() >= self.next_save
        if agreed(trainer, due):  # several processes save together
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.run.best and self.run.history:  # a monitor that was never finite, or never measured
            self.run.best[:] = [self._snapshot(trainer, pl_module, math.nan)]
        self.ended = self._length
        self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write last.ckpt, and the best ones that are not on disk yet."""
        started = time.monotonic()
        folder = self.run.checkpoints
        if trainer.should_stop:  # with a `min_epochs`, it has some to train yet
            self.ended = self._length
        self.save_best(trainer)
        if trainer.is_global_zero:
            keep_previous(folder / "last.ckpt", folder / "previous.ckpt")
        trainer.save_checkpoint(folder / "last.ckpt", weights_only=False)
        taken = time.monotonic() - started
        self.next_save = time.monotonic() + max(self.every_seconds, 20 * taken)

    def stopped(self, trainer: pl.Trainer, module: Any) -> None:
        self.save(trainer)

    def diverged(self, trainer: pl.Trainer, module: Any) -> None:
        self.save_best(trainer)
        if not self.run.best and all(bool(torch.isfinite(weight).all()) for weight in module.parameters()):
            self.save(trainer)

    def save_best(self, trainer: pl.Trainer) -> None:
        """Write the best weights that are only in memory so far."""
        for rank, best in enumerate(self.run.best, start=1):
            name = "best.ckpt" if rank == 1 else f"best_{rank}.ckpt"
            place = best.epoch, best.payload["global_step"]
            if self.written.get(name) != place and trainer.is_global_zero:
                trainer.strategy.checkpoint_io.save_checkpoint(best.payload, self.run.checkpoints / name)
                self.written[name] = place

    def consider(self, trainer: pl.Trainer, module: Any) -> None:
        """Keep the weights if they are among the best so far."""
        row = self.run.history[-1] if self.run.history else {}  # Lightning's metrics may be of an epoch before
        value = float(np.float32(row.get(self.monitor, math.nan)))  # as Lightning's metrics are
        if not math.isfinite(value):
            return
        # but for those of a run that had nothing measured when it ended
        best, sign = [each for each in self.run.best if math.isfinite(each.value)], 1 if self.mode == "min" else -1
        if len(best) < self.save_top_k or sign * value < sign * best[-1].value:
            best.append(self._snapshot(trainer, module, value))
            best.sort(key=lambda each: sign * each.value)  # stable: of equals, the earlier one stays ahead
        self.run.best[:] = best[: self.save_top_k]

    def _snapshot(self, trainer: pl.Trainer, module: Any, value: float) -> Best:
        whole = {"state_dict": module.state_dict()}
        for callback in trainer.callbacks:
            if isinstance(callback, Averaging | WeightAveraging | Attributes):
                callback.on_save_checkpoint(trainer, module, whole)  # puts in what validation saw
        if self.loop.own:
            module.on_save_checkpoint(whole)
        row = dict(self.run.history[-1]) if self.run.history else {}
        epoch = int(row["epoch"]) - 1 if row else trainer.current_epoch
        own = {name: deepcopy(part) for name, part in whole.items() if name not in HELD}  # of the user's own module
        payload = own | {
            "epoch": epoch,
            "global_step": self.loop.step,
            "pytorch-lightning_version": pl.__version__,
            "state_dict": {name: copied(weight) for name, weight in whole["state_dict"].items()},
            "gradloop": whole.get("gradloop", {})
            | {"recipe": self.run.recipe, "metrics": row, "monitor": self.monitor, "value": value},
        }
        return Best(value, epoch, payload)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note how long the event files are, so that a resumed run can cut what came later."""
        sizes = {}
        for logger in trainer.loggers:
            logger.save()
        for path in event_folder(self.run.folder).glob("events.out.tfevents.*"):
            sizes[path.name] = path.stat().st_size
        checkpoint.setdefault("gradloop", {})["event_files"] = sizes

    def state_dict(self) -> dict[str, Any]:
        # the weights travel inside last.ckpt: best.ckpt on disk may be from later than the checkpoint resumed from
        return {"best": [(best.value, best.epoch, best.payload) for best in self.run.best], "ended": self.ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.run.best[:] = [Best(*entry) for entry in state_dict["best"]]
        self.written, self.ended = {}, state_dict.get("ended")  # earlier versions did not note that


def copied(value: Any) -> Any:
    """Return a copy of an entry of a state dict: a tensor, or what a network's `get_extra_state` gives."""
    return value.detach().clone() if isinstance(value, torch.Tensor) else deepcopy(value)
