"""Lesson 3: the shapes of activations and losses, and of their derivatives."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from gradloop.callbacks.hook import Hook
from gradloop.callbacks.lessons.page import show_lesson
from gradloop.drawing import COLORS, GREY
from gradloop.drawing.figures import new_figure, style
from gradloop.networks.simple_nn import ACTIVATIONS

REGRESSION = {"mse": nn.MSELoss, "l1": nn.L1Loss, "huber": nn.HuberLoss}


class Functions(Hook):
    """Draws the activations and losses that gradloop offers, each with the derivative that autograd computes."""

    @style()
    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        figure = new_figure(13, 7.2)
        panels = figure.subplots(2, 3)
        x = torch.linspace(-4, 4, 401)
        zero = torch.zeros_like(x)
        families: list[dict[str, Callable[[Tensor], Tensor]]] = [
            {name: kind() for name, kind in ACTIVATIONS.items()},
            {name: partial(loss(reduction="none"), target=zero) for name, loss in REGRESSION.items()},
            classification(),
        ]
        for column, functions in zip(panels.T, families, strict=True):
            for (name, function), color in zip(functions.items(), COLORS, strict=False):
                width = 5 if name == "relu" else 2  # leaky_relu lies on top of it
                for axes, curve in zip(column, with_derivative(function, x), strict=True):
                    axes.plot(x.numpy(), curve.numpy(), color=color, lw=width, label=name)
        panels[1, 0].axhline(0.25, color=GREY, ls=":", label="¼, sigmoid's most")
        titles = ["activation a(z)", "regression loss of the error ŷ - y", "loss of the logit z for the true class"]
        for column, (title, below) in enumerate(zip(titles, ["z", "error ŷ - y", "logit z"], strict=True)):
            panels[0, column].set(title=title, ylabel="value")
            panels[1, column].set(title="its derivative", ylabel="derivative", xlabel=below)
        panels[1, 0].set_ylim(-0.2, 1.6)
        panels[0, 1].set_ylim(-0.2, 8)
        panels[0, 0].set_ylim(-1.3, 4)
        for axes in panels.flat:
            axes.axhline(0, color="black", lw=0.6)
            axes.legend()
        show_lesson(figure, trainer, self.run, folder)


def with_derivative(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a function's values at x and its derivative there, by autograd."""
    x = x.clone().requires_grad_()
    value = function(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope  # both [N]


def classification() -> dict[str, Callable[[Tensor], Tensor]]:
    """Return losses of the true class's logit: with one other class (logit 0), and two that use no logarithm."""

    def cross_entropy(z: Tensor) -> Tensor:
        logits = torch.stack([z, torch.zeros_like(z)], 1)
        return nn.functional.cross_entropy(logits, torch.zeros(len(z), dtype=torch.long), reduction="none")

    return {"cross-entropy: -log σ(z)": cross_entropy, "squared error of σ(z)": lambda z: (1 - z.sigmoid()) ** 2}
