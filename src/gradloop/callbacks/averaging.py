"""Averaged weights: what is validated, kept as best and tested in place of the trained ones."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EMAWeightAveraging, WeightAveraging
from torch import Tensor

from gradloop.errors import ConfigError


class _KeepsTrainedWeights(WeightAveraging):
    """Puts the average in place of the trained weights only after `last.ckpt` is written with both of them.

    Lightning does so before: a finished run that goes on for more epochs would train the average.
    """

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pass

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)


class EMA(_KeepsTrainedWeights, EMAWeightAveraging):
    """Exponential moving average `w̄ ← d · w̄ + (1 - d) · w`, every `every_n_steps` optimizer steps.

    After n updates `d = min(decay, (1 + n) / (10 + n))`: a short run does not end as the mean of its beginning.
    """

    def __init__(self, *, decay: float, every_n_steps: int) -> None:
        if not 0 < decay < 1:
            raise ConfigError(f"callbacks.ema.decay={decay}: expected above 0 and below 1")
        if every_n_steps < 1:
            raise ConfigError(f"callbacks.ema.every_n_steps={every_n_steps}: expected 1 or more")
        super().__init__(decay=decay, update_every_n_steps=every_n_steps)

        def average(old: Tensor, new: Tensor, updates: Tensor | int) -> Tensor:
            if not old.is_floating_point():
                return new  # a counter, as batch norm has one
            return old.lerp(new, 1 - min(decay, (1 + int(updates)) / (10 + int(updates))))

        self._kwargs["avg_fn"] = average


class SWA(_KeepsTrainedWeights):
    """Stochastic weight averaging (arXiv 1803.05407): the equal-weight mean over the ends of the last epochs.

    start: share of the epochs after which averaging begins; before, the average is the trained weights themselves.
    Lightning's older StochasticWeightAveraging puts the average in place after the last validation: it could never
    be the best. This one is validated in every epoch. Running statistics of batch norm are averaged as well.
    """

    sparse = True  # the end of an epoch is always among the batches that callbacks see

    def __init__(self, *, start: float) -> None:
        if not 0 <= start < 1:
            raise ConfigError(f"callbacks.swa.start={start}: expected at least 0 and below 1")
        super().__init__()
        self.start = start

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert self._average_model is not None
        assert trainer.max_epochs is not None
        first = int(self.start * trainer.max_epochs)
        if trainer.is_last_batch or trainer.current_epoch < first:
            if trainer.current_epoch <= first:
                self._average_model.n_averaged.zero_()  # the next update copies
            self._average_model.update_parameters(pl_module)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return False  # at the end of an epoch it would come after the validation
