"""Stopping when nothing improves any more."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch import callbacks

from gradloop.callbacks.hook import Hook


class EarlyStopping(Hook, callbacks.EarlyStopping):
    """Lightning's EarlyStopping on the run's own monitor.

    patience: validations (by default an epoch has one) without an improvement of more than `min_delta`.
    threshold: stop as soon as the metric is better.
    """

    any_module = True

    def __init__(self, *, patience: int, min_delta: float, threshold: float | None) -> None:
        self.settings: dict[str, Any] = {
            "patience": patience,
            "min_delta": min_delta,
            "stopping_threshold": threshold,
        }
        self.found: dict[str, Any] = {}
        self.follow("", "min")

    def follow(self, monitor: str, mode: str) -> None:
        """Take over what "best" means in this run."""
        # not strict: gradloop has checked that the metric exists, and it need not be measured in every epoch
        super().__init__(monitor=monitor, mode=mode, strict=False, **self.settings)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopping_reason.value:
            self.found = {"stopped_epoch": self.stopped_epoch + 1}
