"""Stopping within the step in which training diverges."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from gradloop.callbacks.hook import Hook
from gradloop.errors import DivergedError


class Divergence(Hook):
    """Raises DivergedError before an optimizer step on a loss or gradient that is NaN or infinite.

    The check is one sum, `loss + ‖∂loss/∂w‖`, which is finite only if all of it is. With a gradient scaler
    (16-mixed) infinite gradients are business as usual, so only the loss is looked at.
    """

    any_module = True

    def before_step(self, module: Any, loss: Tensor) -> None:
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        scaled = module.trainer.precision == "16-mixed"
        total = loss if scaled else loss + torch.nn.utils.get_total_norm(gradients)
        if not math.isfinite(total.item()):
            raise DivergedError(self._message(module, loss))

    def _message(self, module: Any, loss: Tensor) -> str:
        trainer = module.trainer
        bad = [
            name
            for name, weight in module.named_parameters()
            if weight.grad is not None and not torch.isfinite(weight.grad).all()
        ]
        what = f"the loss is {float(loss):g}" if not math.isfinite(float(loss)) else "gradients are not finite"
        broken = [name for name, weight in module.named_parameters() if not torch.isfinite(weight).all()]
        if broken:  # then all gradients are broken as well
            layer = f"the weights in {broken[0].removeprefix('network.')} are not finite"
        else:
            layer = f"first in {bad[0].removeprefix('network.')}" if bad else _largest(module)
        where = f"diverged at step {self.loop.step} (epoch {trainer.current_epoch}): {what}, {layer}"
        if self.loop.step == 0:
            return (
                f"{where}; no step was taken yet, so a smaller optimizer.lr can't help: look at the network's "
                "initial weights, at the scale of the data and at the loss"
            )
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        return f"{where}; try a smaller optimizer.lr than {rate:g}, or trainer.gradient_clip_val=1"


def _largest(module: pl.LightningModule) -> str:
    """Name the layer that a loss out of range most likely comes from, where all gradients are still finite."""
    name, weight = max(module.named_parameters(), key=lambda named: float(named[1].detach().abs().max()))
    return f"the largest weight is {float(weight.detach().abs().max()):.2g} in {name.removeprefix('network.')}"
