"""A LightningModule of the user's own: trained by Lightning, by its own steps, and a run like any other."""

import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from gradloop.callbacks.hook import Hook, gathered, share_of
from gradloop.errors import ConfigError, did_you_mean
from gradloop.runs.history import counted_from_one
from gradloop.runs.labels import mode_of, words
from gradloop.training.lightning_internals import Means, Sums, add_sums, means_of, sums_so_far, sums_with
from gradloop.training.loop.own_loop import OwnLoop
from gradloop.training.optimizing import NO_DIRECTION
from gradloop.training.own_metrics import metric_states, put_metric_states

HELD_OUT = {"val", "valid", "validation", "dev"}


class OwnModule(Hook, Checkpoint):
    """Keeps history, position and state of a run of the user's own LightningModule.

    Whatever it logs (`self.log`) is a column of the history, under the name that it has there: the mean over the
    epoch, or the newest value if it logs steps alone. The randomness of a step depends on (seed, epoch, batch).

    It is a `Checkpoint` to Lightning so that it comes after the module's own hooks. monitor: the metric that says
    which epoch is best, or "" for the held-out loss that is found once something was logged; mode likewise.
    """

    any_module = True
    loop: OwnLoop

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor, self.mode = monitor, mode
        self.before: dict[str, Tensor] = {}  # what was logged before this epoch
        self.saved: dict[str, Any] = {}  # of the checkpoint that this run goes on from, until it is used
        self.sums: Sums = {}
        self.metrics: dict[str, Any] | None = None  # the states of the module's metrics before a validation
        self.rate: dict[str, float] = {}  # of the newest batch
        self.returned: set[bool] = set()  # whether training steps gave a loss
        self.cut: dict[str, Any] = {}  # what the last epoch had seen, if it was not a whole one
        self.began, self.seconds_before = time.monotonic(), 0.0

    # what happens in an epoch

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.loop.reseed("order")

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.began = time.monotonic()
        # an epoch that was cut short goes on: its row comes at its end
        self.run.history[:] = counted_from_one(self.run.history, self.loop.epoch)
        if not self.loop.exact:
            self.loop.length = trainer.num_training_batches
        if self.saved:
            row = {name: torch.tensor(value) for name, value in self.saved["row"].items()}
            trainer.callback_metrics.update(self.saved.get("logged", {}) | row)
        if self.saved.get("between"):  # Lightning steps these after an epoch is saved
            self._step_plateaus(trainer, pl_module, "epoch", trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        loop = self.loop
        if loop.exact and not self.saved:
            loop.between()
        row = self.saved.get("row", {})
        self.before = {name: value for name, value in trainer.callback_metrics.items() if name not in row}
        loop.reseed("order")
        put_metric_states(pl_module, self.saved.get("metrics", {}))  # the module's own hook may begin them anew
        if not loop.batch:
            self.saved.pop("metrics", None)
        if loop.exact and loop.waiting:
            if loop.validation_due:
                loop.validate()
            if not loop.accumulating:
                self._step_plateaus(trainer, pl_module, "step", loop.batch)
            loop.waiting = False
            loop.tell_steps(loop.counted)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.loop.waiting = False

    def _step_plateaus(self, trainer: pl.Trainer, module: Any, interval: str, number: int) -> None:
        """Step what follows a metric and waits for it. number: of epochs, or of the epoch's batches."""
        for config in trainer.lr_scheduler_configs if module.automatic_optimization else ():
            value = trainer.callback_metrics.get(config.monitor)
            due = config.interval == interval and number % config.frequency == 0
            if config.reduce_on_plateau and due and value is not None:
                module.lr_scheduler_step(config.scheduler, value)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.optimizers:
            self.rate = {"lr": float(trainer.optimizers[0].param_groups[0]["lr"])}  # it may be a tensor
        self._restore(pl_module)
        if not self.loop.exact:
            self.loop.epoch, self.loop.batch = trainer.current_epoch, batch_idx
        else:  # Lightning counts those that were fetched since the run was gone on with
            trainer.fit_loop.epoch_loop.batch_progress.is_last_batch = self.loop.batch + 1 >= self.loop.length
        self.loop.reseed("step", self.loop.batch)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Tensor) -> None:
        self.loop.loss = loss.detach()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        loop = self.loop
        self.returned.add(bool(outputs))
        loop.batch, loop.validated, loop.step = loop.batch + 1, False, trainer.global_step
        loop.seen, loop.whole, loop.waiting = loop.seen + 1, not trainer.is_last_batch, True
        if not loop.exact and trainer.is_last_batch:
            loop.length = loop.batch
        add_sums(trainer, self.sums)
        if loop.at_epochs_end:
            self._logged(trainer)  # the newest values of what is logged by step alone

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            self.metrics = metric_states(pl_module)
            self.loop.reseed("validation", self.loop.batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            self.metrics, self.loop.validated = None, True
            if not self.monitor:
                self._find_monitor(self._logged(trainer), HELD_OUT)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        loop = self.loop
        if pl_module.automatic_optimization and self.returned == {False}:
            raise ConfigError(f"module: {type(pl_module).__qualname__}.training_step returns no loss: nothing trains")
        loop.waiting = not loop.exact
        every = trainer.check_val_every_n_epoch or 1
        if loop.at_epochs_end and not loop.validated and loop.validates and (trainer.current_epoch + 1) % every == 0:
            loop.validate()  # what is kept is what the epoch ends with
        row = self._logged(trainer)
        if (means := self.saved.get("means")) and trainer.is_global_zero:  # Lightning has none of these to log
            self.run.log({**means, "epoch": trainer.current_epoch, "step": loop.counted - 1})
        self.saved, self.sums = {}, {}
        self._check_monitor(trainer, row)
        stands = {"epoch": trainer.current_epoch + 1, "step": loop.step}
        self.run.history.append({**stands, **self.rate, **dict(sorted(row.items())), **stands})
        cut = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
        if loop.at_epochs_end or not loop.exact or not cut:  # its own hook may leave out an epoch's rest
            loop.epoch, loop.batch, loop.whole = loop.epoch + 1, 0, True
        else:  # `max_steps` cuts it short, and it may go on later
            self.cut = {"sums": sums_so_far(trainer), "metrics": metric_states(pl_module)}

    def _logged(self, trainer: pl.Trainer) -> dict[str, float]:
        """Return what was logged since the epoch began."""
        now = trainer.callback_metrics
        return {
            name: float(value)
            for name, value in now.items()
            if value is not self.before.get(name)
            and value.numel() == 1
            and (name == self.monitor or not (name.endswith(("_step", "_epoch")) and name.rpartition("_")[0] in now))
        }

    # what "best" means

    def _find_monitor(self, row: dict[str, float], parts: set[str]) -> None:
        """Take the loss of the first of those parts that has one, once that is known."""
        for name in row:
            found = words(name)
            if "loss" in found and (found & parts or not parts):
                self._tell_monitor(name)
                return

    def _tell_monitor(self, name: str) -> None:
        self.monitor, self.mode = name, self.mode or mode_of(name)
        self.run.record["monitor"] = {"metric": self.monitor, "mode": self.mode}
        for callback in self.loop.trainer.callbacks:
            if isinstance(callback, Hook) and callback is not self:
                callback.follow(self.monitor, self.mode)

    def _check_monitor(self, trainer: pl.Trainer, row: dict[str, float]) -> None:
        validated = not trainer.enable_validation or self.loop.validated
        for parts in (HELD_OUT, {"train", "training"}, set()):
            if not self.monitor and validated:
                self._find_monitor(row, parts)
        known = [name for name in trainer.callback_metrics if not name.endswith(("_step", "_epoch"))]
        module, there = type(trainer.lightning_module).__qualname__, ", ".join(known) or "nothing"
        if not self.monitor and validated:
            raise ConfigError(f"monitor: {module} logs no loss; choose one of what it logs with monitor=…: {there}")
        if self.monitor not in trainer.callback_metrics and validated:
            near = did_you_mean(self.monitor, known)
            raise ConfigError(f"monitor={self.monitor}: {module} never logs it; there are {there}{near}")
        if self.monitor and not self.mode:
            raise ConfigError(f"monitor={self.monitor}: {NO_DIRECTION}")

    # what a checkpoint keeps

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        loop = self.loop
        if loop.exact:
            checkpoint.pop("loops", None)
            checkpoint["epoch"] = loop.epoch
        inside, closed = 0 < loop.batch < loop.length, bool(loop.batch) and loop.at_epochs_end
        means = means_of(trainer) if closed or not loop.batch else Means({}, {}, set())
        kept = loop.batch and (trainer.accumulate_grad_batches > 1 or not pl_module.automatic_optimization)
        waiting = pl_module.named_parameters() if kept else ()
        mine = {  # of this process: each has seen batches of its own
            # what ends with the epoch begins anew
            "metrics": {n: s for n, s in (self.metrics or metric_states(pl_module)).items() if n not in means.ended},
            "sums": sums_with(trainer, self.saved.get("sums", {}) | self.sums) if inside else {},
            "gradients": {name: weight.grad for name, weight in waiting if weight.grad is not None},
        }
        checkpoint.setdefault("gradloop", {}).update(
            position=loop.state(),
            recipe=self.run.recipe,
            history=self.run.history,
            row=self._logged(trainer) | means.values if loop.batch else {},
            means=self.saved.get("means", {}) | means.logged if closed else {},
            logged={n: v.detach().clone() for n, v in trainer.callback_metrics.items() if v.numel() == 1},
            between=not loop.batch and loop.waiting,
            seconds=self.seconds_before + time.monotonic() - self.began,
            monitor=[self.monitor, self.mode],
            rate=self.rate,
            processes=gathered(mine | self.cut),
        )

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.saved = dict(checkpoint["gradloop"])
        self.saved |= share_of(self.saved.pop("processes", [{}]))
        if self.loop.exact:
            self.loop.load(self.saved["position"])
            checkpoint.pop("loops", None)
        else:
            self.loop.epoch, self.loop.batch, self.loop.step = (
                self.saved["position"][name] for name in ("epoch", "batch", "step")
            )
        self.run.history[:] = counted_from_one(self.saved["history"])
        self.seconds_before, self.rate = self.saved.get("seconds", 0.0), self.saved.get("rate", {})
        if self.saved["monitor"][0]:
            self.mode = self.saved["monitor"][1]
            self._tell_monitor(self.saved["monitor"][0])

    def _restore(self, module: Any) -> None:
        """Put back, after the module's own hooks of a start, what only a checkpoint knows."""
        if "metrics" not in self.saved:
            return
        put_metric_states(module, self.saved.pop("metrics"))
        self.sums = self.saved.pop("sums")
        gradients = self.saved.pop("gradients")
        for name, weight in module.named_parameters():
            if name in gradients:
                weight.grad = gradients[name].to(weight)
