"""A user's code that keeps its state in plain attributes, as no `state_dict` has them."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional


class Net(nn.Module):
    """Scales its outputs by what it has counted and drawn in training."""

    def __init__(self, num_outputs: int = 10) -> None:
        super().__init__()
        self.layer = nn.Linear(64, num_outputs)
        self.calls, self._scale, self.dice = 0, 1.0, np.random.default_rng(0)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self._scale = 1 + 0.1 * (self.calls % 7) + 0.01 * float(self.dice.random())
        outputs: Tensor = self.layer(inputs.flatten(1)) * self._scale
        return outputs


class Turning(pl.Callback):
    """Sets the rate by how many batches it has seen."""

    def __init__(self) -> None:
        self.seen, self.losses = 0, []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.seen += 1
        self.losses.append(outputs["loss"])
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = 0.01 / (1 + self.seen % 4) * (1 + float(torch.stack(self.losses[-3:]).mean()))


class Halving(torch.optim.SGD):
    """Takes every third step at half the rate."""

    def __init__(self, params: Any, lr: float = 0.05) -> None:
        super().__init__(params, lr=lr)
        self.taken = 0

    def step(self, closure: Any = None) -> Any:
        self.taken += 1
        share = 0.5 if self.taken % 3 == 0 else 1.0
        for group in self.param_groups:
            group["lr"] *= share
        loss = super().step(closure)
        for group in self.param_groups:
            group["lr"] /= share
        return loss


class Digits(pl.LightningModule):
    """Logs what it has gathered since the epoch began, since the run did, and over a window of both."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.seen, self.losses, self.window, self.sums = 0, [], deque(maxlen=5), defaultdict(float)
        self.running, self.mean = torchmetrics.RunningMean(window=7), torchmetrics.MeanMetric()
        self.generator, self.dice = torch.Generator().manual_seed(3), random.Random(1)

    def training_step(self, batch: Any, index: int) -> Tensor:
        inputs, targets = batch
        self.seen += 1
        loss = functional.cross_entropy(self.layer(inputs.flatten(1)), targets)
        loss = loss * (1 + 0.1 * torch.rand((), generator=self.generator)) * (1 + self.dice.random() / 10)
        self.window.append(float(loss))
        self.losses.append(loss.detach())
        self.sums["loss"] += float(loss)
        self.log("window", sum(self.window) / len(self.window))
        self.log("running", self.running(loss.detach()))
        self.log("mean", self.mean(loss.detach()))
        return loss * (1 + self.seen % 3)

    def on_train_epoch_start(self) -> None:
        self.losses.clear()

    def on_train_epoch_end(self) -> None:
        self.log("losses", torch.stack(self.losses).mean())
        self.log("sum", self.sums["loss"])

    def validation_step(self, batch: Any, index: int) -> None:
        self.seen += 1
        self.log("val/loss", functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1]))

    def test_step(self, batch: Any, index: int) -> None:
        self.log("test/seen", float(self.seen))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return Halving(self.parameters(), lr=0.05)


class Kept:
    """What no checkpoint gives back."""


class Unknown(nn.Module):
    def __init__(self, num_outputs: int = 2) -> None:
        super().__init__()
        self.layer, self.objects = nn.LazyLinear(num_outputs), []

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.objects.append(Kept())
        outputs: Tensor = self.layer(inputs.flatten(1))
        return outputs
