"""Stopping when nothing improves any more."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import callbacks

from gradloop.callbacks.hook import Hook


class EarlyStopping(Hook, callbacks.EarlyStopping):
    """Lightning's EarlyStopping on the run's own monitor.

    patience: validations (by default an epoch has one) without an improvement of more than `min_delta`; epochs, where
    nothing is validated or a training metric is followed. threshold: stop as soon as the metric is better.
    A value that is not finite is no improvement; training that diverges ends by itself.
    """

    any_module = True

    def __init__(self, *, patience: int, min_delta: float, threshold: float | None) -> None:
        self.settings: dict[str, Any] = {
            "patience": patience,
            "min_delta": min_delta,
            "stopping_threshold": threshold,
            "check_finite": False,  # or the next value could always be the last
        }
        self.follow("", "min")

    @property
    def stops(self) -> bool:
        return self.stopping_threshold is not None or self.wait_count + 1 >= self.patience

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        inside = isinstance(trainer.val_check_interval, int) or trainer.val_check_interval < 1
        each = not inside and trainer.check_val_every_n_epoch == 1
        self.settings["check_on_train_epoch_end"] = each or not trainer.enable_validation
        self.follow(self.monitor, self.mode)
        super().setup(trainer, pl_module, stage)

    def follow(self, monitor: str, mode: str) -> None:
        """Take over what "best" means in this run."""
        # not strict: gradloop has checked that the metric exists, and it need not be measured in every epoch
        when = {"check_on_train_epoch_end": True} if monitor.startswith("train") else {}
        super().__init__(monitor=monitor, mode=mode, strict=False, **self.settings | when)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._note()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last = int(self.run.history[-1]["epoch"]) if self.run.history else 0
        self.found = {}
        if last == self.stopped_epoch + 1:  # not earlier, in a run that was made longer
            self._note()

    def _note(self) -> None:
        if self.stopping_reason.value:
            self.found = {"stopped_epoch": self.stopped_epoch + 1}
