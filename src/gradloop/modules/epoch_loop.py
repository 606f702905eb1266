"""Several optimizer steps per turn of Lightning's loop: what a tiny model's speed needs."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.trainer import call
from lightning.pytorch.utilities.model_helpers import is_overridden

BATCH_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
TURN = 0.05  # seconds after which callbacks get a say, at the latest


class EpochLoop(_TrainingEpochLoop):
    """Lightning's epoch loop, whose `advance` runs batches for up to 50 ms when nothing needs to see each of them.

    That is so on one device in 32-bit precision, without accumulation, clipping or a profiler, when every callback
    with a batch hook says that it is content with some of the batches (`sparse = True`). Otherwise, and for the
    first batch after a resume, Lightning's own `advance` runs. Both do the same arithmetic in the same order.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        theirs = trainer.fit_loop.epoch_loop
        super().__init__(trainer, theirs.min_steps, theirs.max_steps)
        self._several: bool | None = None

    def several_steps_allowed(self) -> bool:
        trainer, module = self.trainer, self.trainer.lightning_module
        plain_module = not any(
            is_overridden(hook, module)
            for hook in ("optimizer_step", "optimizer_zero_grad", "backward", *BATCH_HOOKS[1:])
        )
        return (
            plain_module
            and len(trainer.optimizers) == 1
            and type(trainer.strategy) is SingleDeviceStrategy
            and type(trainer.precision_plugin) is Precision
            and isinstance(trainer.profiler, PassThroughProfiler)
            and trainer.accumulate_grad_batches == 1
            and not trainer.gradient_clip_val
            and trainer.max_steps == -1
            and trainer.val_check_interval == 1.0
            and trainer.limit_train_batches == 1.0
            and not trainer.overfit_batches
            and all(
                getattr(callback, "sparse", False)
                for callback in trainer.callbacks
                if any(is_overridden(hook, callback, pl.Callback) for hook in BATCH_HOOKS)
            )
        )

    def advance(self, data_fetcher: Any) -> None:
        if self._several is None:
            self._several = self.several_steps_allowed()
        if not self._several or self.restarting:
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        trainer, module = self.trainer, self.trainer.lightning_module
        optimizer = trainer.optimizers[0]
        before_step = [c.before_step for c in trainer.callbacks if hasattr(c, "before_step")]
        device = module.device
        first = self.batch_progress.current.ready
        index, done, output, batch = first, False, None, None
        until = time.perf_counter() + TURN
        while not done and (index == first or time.perf_counter() < until):
            batch, _, _ = next(data_fetcher)
            if device.type != "cpu":
                batch = call._call_strategy_hook(trainer, "batch_to_device", batch, dataloader_idx=0)
            done = data_fetcher.done
            if index == first:
                call._call_callback_hooks(trainer, "on_train_batch_start", batch, index)
            module.on_train_batch_start(batch, index)
            output = module.training_step(batch, index)
            optimizer.zero_grad()
            output.backward()
            for hook in before_step:
                hook(module, output)
            optimizer.step()
            self._count(done)
            index += 1
            for config in trainer.lr_scheduler_configs:
                if config.interval == "step":
                    config.scheduler.step()
                    self.scheduler_progress.increment_ready()
                    self.scheduler_progress.increment_completed()
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        assert output is not None
        call._call_callback_hooks(trainer, "on_train_batch_end", {"loss": output.detach()}, batch, index - 1)
        self._completed()

    def _count(self, is_last_batch: bool) -> None:
        """Advance every counter by one batch, as Lightning does around a batch."""
        progress = self.batch_progress
        progress.is_last_batch = is_last_batch
        for tracker in (progress.total, progress.current):
            tracker.ready += 1
            tracker.started += 1
            tracker.processed += 1
        optimizer = self.automatic_optimization.optim_progress.optimizer
        for tracker in (optimizer.step.total, optimizer.step.current):
            tracker.ready += 1
            tracker.completed += 1
        for tracker in (optimizer.zero_grad.total, optimizer.zero_grad.current):
            tracker.ready += 1
            tracker.started += 1
            tracker.completed += 1

    def _completed(self) -> None:
        """Count the batches as completed only after `on_train_batch_end`: a checkpoint saved there resumes here."""
        progress = self.batch_progress
        progress.total.completed = progress.total.processed
        progress.current.completed = progress.current.processed
