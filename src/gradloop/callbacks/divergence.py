"""Stopping within the step in which training diverges."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from gradloop.callbacks.hook import Hook
from gradloop.errors import DivergedError

SMALL = 2**16  # numbers of a gradient; such may be laid side by side


class Divergence(Hook):
    """Raises DivergedError before an optimizer step on a loss or gradient that is NaN or infinite.

    The check is one sum of the loss and the gradients, which is finite only if all of it is. With a gradient scaler
    (16-mixed) infinite gradients are business as usual, so only the loss is looked at.
    """

    any_module = True
    weights: list[Tensor]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.weights = [] if trainer.precision == "16-mixed" else list(pl_module.parameters())
        same_place = all(weight.device == self.weights[0].device for weight in self.weights)
        self.small = same_place and all(weight.numel() < SMALL for weight in self.weights)

    def before_step(self, module: Any, loss: Tensor) -> None:
        gradients = self.loop.laid_gradients() if self.weights else []
        if gradients is None:
            gradients = [grad for weight in self.weights if (grad := weight.grad) is not None]
        total = loss + whole(gradients, self.small) if gradients else loss
        if not math.isfinite(total.item()):
            named = {name: (weight.detach(), weight.grad) for name, weight in module.named_parameters()}
            rate = module.trainer.optimizers[0].param_groups[0]["lr"]
            raise diverged(named, float(loss), step=self.loop.step, epoch=module.trainer.current_epoch, rate=rate)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the weights that the last step has made: no loss comes after them."""
        named = {name: (weight.detach(), weight.grad) for name, weight in pl_module.named_parameters()}
        if trainer.optimizers and self.loop.step and not all_finite(weight for weight, _ in named.values()):
            epoch, rate = len(self.run.history) - 1, trainer.optimizers[0].param_groups[0]["lr"]
            raise diverged(named, 0.0, step=self.loop.step, epoch=epoch, rate=rate)


def all_finite(weights: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in weights)


def whole(gradients: list[Tensor], small: bool) -> Tensor:
    """Return a number that is finite only if all gradients are: their sum or, of large ones, their norm."""
    if len(gradients) == 1:
        return gradients[0].sum()
    if small and all(grad.layout == torch.strided for grad in gradients):
        return torch.cat([grad.flatten() for grad in gradients]).sum()  # side by side, in a quarter of the time
    return torch.nn.utils.get_total_norm(gradients)


def diverged(
    named: Mapping[str, tuple[Tensor, Tensor | None]], loss: float, *, step: int, epoch: int, rate: float
) -> DivergedError:
    """Return the error that says where a run has diverged. named: each weight with its gradient."""
    bad = [name for name, (_, grad) in named.items() if grad is not None and not torch.isfinite(grad).all()]
    what = "gradients are not finite, " if bad else ""
    what = what if math.isfinite(loss) else f"the loss is {loss:g}, "
    broken = [name for name, (weight, _) in named.items() if not torch.isfinite(weight).all()]
    if broken:  # then all gradients are broken as well
        layer = f"the weights in {broken[0].removeprefix('network.')} are not finite"
    elif bad:
        layer = f"first in {bad[0].removeprefix('network.')}"
    else:  # the loss is out of range, most likely by the layer of the largest weight
        sizes = {name: float(weight.abs().max()) for name, (weight, _) in named.items()}
        name = max(sizes, key=sizes.__getitem__)
        layer = f"the largest weight is {sizes[name]:.2g} in {name.removeprefix('network.')}"
    where = f"diverged at step {step} (epoch {epoch + 1}): {what}{layer}"
    if step == 0:
        return DivergedError(
            f"{where}; no step was taken yet, so a smaller optimizer.lr can't help: look at the network's "
            "initial weights, at the scale of the data and at the loss"
        )
    return DivergedError(f"{where}; try a smaller optimizer.lr than {rate:g}, or trainer.gradient_clip_val=1")
