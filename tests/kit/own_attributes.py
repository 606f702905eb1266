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
        self.window.append(float(loss.detach()))
        self.losses.append(loss.detach())
        self.sums["loss"] += float(loss.detach())
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


class Every(pl.Callback):
    """Changes the rate every so many batches; there may be two of it."""

    def __init__(self, every: int, factor: float) -> None:
        self.every, self.factor, self.seen = every, factor, 0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen += 1
        if self.seen % self.every == 0:
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= self.factor


class Average(pl.Callback):
    """Validates an average of the weights, and trains on as before; counts validations in the rate."""

    def __init__(self) -> None:
        self.average: dict[str, Tensor] = {}
        self.validations = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        for name, weight in pl_module.named_parameters():
            before = self.average.get(name, weight.detach())
            self.average[name] = 0.8 * before + 0.2 * weight.detach()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            self.trained = {name: weight.detach().clone() for name, weight in pl_module.named_parameters()}
            for name, weight in pl_module.named_parameters():
                weight.data.copy_(self.average[name])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            self.validations += 1
            for name, weight in pl_module.named_parameters():
                weight.data.copy_(self.trained[name])
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = 0.05 / (1 + 0.1 * self.validations)


class Loss:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return functional.cross_entropy(outputs, targets) * (1 + 0.2 * (self.calls % 5))


class Odd(nn.Module):
    """Holds one list by two names, a view, a generator that is made later, and what is deleted."""

    def __init__(self, num_outputs: int = 10) -> None:
        super().__init__()
        self.layer, self.state, self.dice = nn.Linear(64, num_outputs), 0, None
        self.seen: list[int] = []
        self.again, self.buffer, self.warm = self.seen, torch.ones(10), True
        self.view, self.big_endian = self.buffer[:5], np.frombuffer(bytes(16), dtype=">f4")

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs.flatten(1))
        if not self.training:
            return outputs
        self.state += 1
        if self.dice is None:
            self.dice, self.window = np.random.default_rng(3), deque([1.0, 2.0], maxlen=3)
        if self.state == 40:
            del self.warm
        self.seen.append(1)
        self.buffer += 0.001
        self.window.append(self.dice.random())
        scale = 1 + 0.001 * (len(self.again) % 50) + 0.01 * float(self.view.sum()) + 0.1 * hasattr(self, "warm")
        return outputs * (scale + 0.1 * self.window.popleft())


class Tired(nn.Module):
    """Says the opposite once it has been trained for a while: it was best before."""

    def __init__(self, num_outputs: int = 10) -> None:
        super().__init__()
        self.layer, self.calls, self.tired = nn.Linear(64, num_outputs), 0, False

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.tired = self.calls > 100
        outputs: Tensor = self.layer(inputs.flatten(1))
        return -outputs if self.tired else outputs


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
