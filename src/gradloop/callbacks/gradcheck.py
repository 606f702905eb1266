"""Autograd against finite differences."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradloop.callbacks.hook import Hook
from gradloop.errors import GradloopError

STEP = 1e-6  # of the central difference; in float64 its error is about 1e-10
SMALL = 20_000  # weights; in a larger network each tensor is checked along a random direction


class GradientError(GradloopError):
    """Autograd and finite differences disagree: exit code 5."""

    exit_code = 5


class GradCheck(Hook):
    """Checks `∂loss/∂w ≈ [loss(w + h) - loss(w - h)] / 2h` in float64 for every weight tensor before training.

    The verdict is torch.autograd.gradcheck's; its fast mode for tensors of more than 500 weights, and for all of a
    network of more than 20,000. The deviation that is printed is the largest over `entries` weights of the tensor,
    or, in a large network, that along one random direction. samples: how many of the validation part are used.
    Dropout and batch norm are as in evaluation. Weights and inputs are moved a little off their values (always the
    same way), away from the kinks of ReLU, where there is no derivative to compare with.
    """

    def __init__(self, *, samples: int, entries: int) -> None:
        self.samples = samples
        self.entries = entries
        self.deviations: dict[str, float] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        inputs, targets = next(iter(trainer.datamodule.val_dataloader()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            failed = self.compare(pl_module, inputs[: self.samples].cpu(), targets[: self.samples].cpu())
        if failed:
            worst = max(failed, key=self.deviations.__getitem__)
            raise GradientError(
                f"gradcheck: autograd deviates from finite differences in {', '.join(failed)} (by up to "
                f"{self.deviations[worst]:.2g}, in {worst}): a backward pass is wrong, or not differentiable"
            )

    def compare(self, module: Any, inputs: Tensor, targets: Tensor) -> list[str]:
        network = deepcopy(module.network).cpu().double().eval()
        loss = deepcopy(module.loss)
        if isinstance(loss, nn.Module):
            loss = loss.cpu().double()
        if inputs.is_floating_point():
            inputs = inputs.double() + 0.01 * torch.randn(inputs.shape, dtype=torch.double)
        if targets.is_floating_point():
            targets = targets.double()
        weights = {
            name: w.detach() + 0.01 * torch.randn(w.shape, dtype=torch.double)
            for name, w in network.named_parameters()
        }
        fast = sum(weight.numel() for weight in weights.values()) > SMALL
        failed = []
        print(f"gradcheck: max |autograd - finite difference| in float64, {len(inputs)} samples")
        for name, weight in weights.items():

            def loss_of(value: Tensor, name: str = name) -> Tensor:
                outputs = functional_call(network, {**weights, name: value}, (inputs,))
                return loss(outputs, targets) + 0 * value.sum()  # a weight that is not used has a gradient of 0

            weight = weight.clone().requires_grad_()
            right = torch.autograd.gradcheck(
                loss_of, (weight,), eps=STEP, fast_mode=fast or weight.numel() > 500, raise_exception=False
            )
            self.deviations[name] = self._deviation(loss_of, weight, fast)
            failed += [] if right else [name]
            verdict = "ok" if right else "WRONG"
            print(f"  {name:<40} {tuple(weight.shape)!s:<20} {self.deviations[name]:.1e}  {verdict}")
        return failed

    def _deviation(self, loss_of: Any, weight: Tensor, fast: bool) -> float:
        (gradient,) = torch.autograd.grad(loss_of(weight), weight)
        largest = 0.0
        with torch.no_grad():
            for direction in self._directions(weight, fast):
                step = STEP * direction
                difference = (loss_of(weight + step) - loss_of(weight - step)) / (2 * STEP)
                largest = max(largest, float(((gradient * direction).sum() - difference).abs()))
        return largest

    def _directions(self, weight: Tensor, fast: bool) -> Iterator[Tensor]:
        """Yield directions of length 1: single entries, or a random one."""
        if fast:
            yield nn.functional.normalize(torch.randn_like(weight).flatten(), dim=0).view_as(weight)
            return
        for entry in torch.linspace(0, weight.numel() - 1, min(self.entries, weight.numel())).long():
            yield nn.functional.one_hot(entry, weight.numel()).to(weight.dtype).view_as(weight)
