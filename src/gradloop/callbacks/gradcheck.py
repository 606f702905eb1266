"""Autograd against finite differences."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradloop.errors import GradloopError

STEP = 1e-6  # of the central difference; in float64 its error is about 1e-10
SMALL = 500  # weights; larger tensors are checked along a random direction


class GradientError(GradloopError):
    """Autograd and finite differences disagree: exit code 5."""

    exit_code = 5


class GradCheck(pl.Callback):
    """Checks `∂loss/∂w ≈ [loss(w + h) - loss(w - h)] / 2h` in float64 for every weight tensor before training.

    samples: how many of the validation part. entries: of each tensor, for the deviation that is printed; the
    verdict is torch.autograd.gradcheck's over all entries (over a random direction for tensors of more than 500).
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
            failed = self._check(pl_module, inputs[: self.samples].cpu(), targets[: self.samples].cpu())
        if failed:
            worst = max(failed, key=self.deviations.__getitem__)
            raise GradientError(
                f"gradcheck: autograd deviates from finite differences in {', '.join(failed)} (by up to "
                f"{self.deviations[worst]:.2g}, in {worst}): a backward pass is wrong, or not differentiable"
            )

    def _check(self, module: Any, inputs: Tensor, targets: Tensor) -> list[str]:
        network = deepcopy(module.network).cpu().double().eval()
        loss = deepcopy(module.loss)
        if isinstance(loss, nn.Module):
            loss = loss.cpu().double()
        inputs = inputs.double() + 0.01 * torch.randn(inputs.shape, dtype=torch.double)
        if targets.is_floating_point():
            targets = targets.double()
        weights = {
            name: (w.detach() + 0.01 * torch.randn(w.shape, dtype=torch.double)).requires_grad_()
            for name, w in network.named_parameters()
        }
        failed = []
        print(f"gradcheck: max |autograd - finite difference| in float64, {len(inputs)} samples")
        for name, weight in weights.items():

            def loss_of(value: Tensor, name: str = name) -> Tensor:
                return loss(functional_call(network, {**weights, name: value}, (inputs,)), targets)

            right = torch.autograd.gradcheck(
                loss_of, (weight,), eps=STEP, fast_mode=weight.numel() > SMALL, raise_exception=False
            )
            self.deviations[name] = self._deviation(loss_of, weight)
            failed += [] if right else [name]
            verdict = "ok" if right else "WRONG"
            print(f"  {name:<40} {tuple(weight.shape)!s:<20} {self.deviations[name]:.1e}  {verdict}")
        return failed

    def _deviation(self, loss_of: Any, weight: Tensor) -> float:
        (gradient,) = torch.autograd.grad(loss_of(weight), weight, allow_unused=True)
        gradient = torch.zeros_like(weight) if gradient is None else gradient
        chosen = torch.linspace(0, weight.numel() - 1, min(self.entries, weight.numel())).long()
        largest = 0.0
        with torch.no_grad():
            for entry in chosen:
                step = torch.zeros(weight.numel(), dtype=torch.double)
                step[entry] = STEP
                step = step.view_as(weight)
                difference = (loss_of(weight + step) - loss_of(weight - step)) / (2 * STEP)
                largest = max(largest, float((gradient.flatten()[entry] - difference).abs()))
        return largest
