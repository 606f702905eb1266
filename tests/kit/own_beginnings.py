"""A user's code that acts where an epoch begins, draws from NumPy, and begins by the first batch that it sees."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def noisy(outputs: Tensor, targets: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        outputs = outputs + 0.3 * torch.from_numpy(np.random.randn(*outputs.shape)).float()
    return functional.cross_entropy(outputs, targets)


class Shrinking(pl.Callback):
    """Where an epoch begins, a smaller rate and smaller weights; where it ends, some noise."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] *= 0.95
        with torch.no_grad():
            for weight in pl_module.parameters():
                weight.mul_(0.99)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        with torch.no_grad():
            for weight in pl_module.parameters():
                weight.add_(torch.from_numpy(np.random.randn(*weight.shape)).float(), alpha=0.001)


class StopAt(pl.Callback):
    """Ends the training after so many batches, as a time limit does."""

    def __init__(self, batches: int) -> None:
        self.batches, self.seen = batches, 0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen += 1
        trainer.should_stop = trainer.should_stop or self.seen == self.batches


class ActNorm(nn.Module):
    """Normalises by the first batch that it sees (Glow)."""

    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.ones(in_features)), nn.Linear(in_features, num_outputs)
        self.register_buffer("begun", torch.tensor(False))
        self.frozen = nn.BatchNorm1d(in_features).eval()

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.begun:
            self.scale.data = 1 / (inputs.std(0) + 1e-6)
            self.begun.fill_(True)
        outputs: Tensor = self.layer(self.frozen(self.scale * inputs))
        return outputs
