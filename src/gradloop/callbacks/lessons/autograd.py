"""Lesson 1: what backward() computes, and how gradients add up."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from gradloop.callbacks.hook import Hook
from gradloop.callbacks.lessons.page import show_lesson
from gradloop.drawing import BLUE, GREEN, GREY, ORANGE, RED
from gradloop.drawing.figures import new_figure, number, style


class Autograd(Hook):
    """Draws the gradient of mean(2 (x + 1)²) beside its formula, and two batches' gradients beside their sum."""

    def __init__(self) -> None:
        self.gradients: dict[str, list[float]] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Measure at the initial weights, where the gradients are large."""
        if not self.gradients:
            split = trainer.datamodule.splits["train"]
            batch = split.inputs[:16].to(pl_module.device), split.targets[:16].to(pl_module.device)
            inputs, targets = trainer.precision_plugin.convert_input(batch)
            self.gradients = accumulated(pl_module, inputs, targets)

    def state_dict(self) -> dict[str, Any]:
        return {"gradients": self.gradients}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.gradients = state_dict["gradients"]

    @style()
    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        figure = new_figure(11, 4.8)
        formula, bars = figure.subplots(1, 2)
        x = torch.linspace(-4, 2, 60)
        formula.plot(x.numpy(), (x + 1).numpy(), color=GREY, lw=5, alpha=0.4, label="by hand: x + 1")
        at = torch.linspace(-4, 2, 16)
        gradient = torch.cat([tutorial_gradient(four) for four in at.split(4)])
        formula.plot(at.numpy(), gradient.numpy(), "o", color=BLUE, label="backward(): x.grad")
        formula.set(xlabel="x", ylabel="∂y/∂x", title="y = mean(2 (x + 1)²) over four x, four times")
        names = ["∂loss/∂w", "∂loss/∂b"]
        colors = [BLUE, ORANGE, RED, GREEN, GREY]
        for place, ((label, values), color) in enumerate(zip(self.gradients.items(), colors, strict=True)):
            positions = [index + 0.16 * (place - 2) for index in range(len(names))]
            drawn = bars.bar(positions, values, width=0.15, color=color, label=label)
            bars.bar_label(drawn, fmt=number, fontsize=7, padding=2)
        bars.axhline(0, color="black", lw=0.8)
        bars.margins(y=0.12)
        bars.set_xticks(range(len(names)), names)
        bars.set(ylabel="gradient", title="Two batches of 8, and the batch of 16")
        formula.legend()
        bars.grid(visible=False, axis="x")
        bars.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.08))
        show_lesson(figure, trainer, self.run, folder)


def tutorial_gradient(x: Tensor) -> Tensor:
    """Return ∂y/∂x of `y = mean(2 (x + 1)²)` as autograd computes it; for four x it is x + 1."""
    x = x.detach().clone().requires_grad_()
    y = (2 * (x + 1) ** 2).mean()
    y.backward()
    assert x.grad is not None
    return x.grad


def accumulated(module: Any, inputs: Tensor, targets: Tensor) -> dict[str, list[float]]:
    """Return the gradient (w, b) of each half of a batch, of both added up, of their mean, and of the whole batch."""
    weights = list(module.network.parameters())
    half = len(inputs) // 2

    def backward(rows: slice) -> list[float]:
        module.loss(module(inputs[rows]), targets[rows]).backward()  # adds to what .grad holds already
        return [float(weight.grad.flatten()[0]) for weight in weights]

    first = backward(slice(0, half))
    both = backward(slice(half, None))  # no zero_grad() in between
    module.zero_grad()
    second = backward(slice(half, None))
    module.zero_grad()
    whole = backward(slice(None))
    module.zero_grad()
    return {
        "batch A": first,
        "batch B": second,
        "A, then B without zero_grad()": both,
        "the same / 2 (accumulate_grad_batches=2)": [value / 2 for value in both],
        "A and B as one batch": whole,
    }
