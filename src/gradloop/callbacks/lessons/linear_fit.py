"""Lesson 2: a line finds its slope."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from gradloop.callbacks.hook import Hook
from gradloop.drawing.figures import BLUE, GREY, RED, new_figure, publish


class LinearFit(Hook):
    """Draws data and fitted line, and the way of (slope, intercept) down the loss surface."""

    def __init__(self) -> None:
        self.start: list[float] = []  # (slope, intercept) before training; the history has those after every epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self.start:
            self.start = [pl_module.network.weight.item(), pl_module.network.bias.item()]

    def state_dict(self) -> dict[str, Any]:
        return {"start": self.start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start = state_dict["start"]

    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        split: Any = trainer.datamodule.splits["train"]
        x, y = split.inputs[:, 0].cpu(), split.targets[:, 0].cpu()
        path = torch.tensor([self.start, *([row["weight"], row["bias"]] for row in module.run.history)])
        slope, intercept = path[-1].tolist()
        best_slope, best_intercept = least_squares(x, y)
        figure = new_figure(11, 4.5)
        data, surface = figure.subplots(1, 2)
        ends = [float(x.min()), float(x.max())]
        data.plot(x.numpy(), y.numpy(), "o", color=BLUE, ms=4, alpha=0.6, label="data: 2x + U(0, 1)")
        for name, a, b, style in (
            ("learned", slope, intercept, {"color": RED, "lw": 2.5}),
            ("least squares", best_slope, best_intercept, {"color": "black", "lw": 1.2, "ls": "--"}),
        ):
            data.plot(ends, [a * end + b for end in ends], label=f"{name}: {a:.2f} x + {b:.2f}", **style)
        data.set(xlabel="x", ylabel="y", title="The line after training")
        center = torch.tensor([best_slope, best_intercept])
        reach = 1.25 * (path - center).abs().amax(0).clamp(min=1.0)
        w, b = (torch.linspace(float(c - r), float(c + r), 121) for c, r in zip(center, reach, strict=True))
        loss = ((w[None, :, None] * x + b[:, None, None] - y) ** 2).mean(-1)  # [intercepts, slopes]
        levels = torch.logspace(float(loss.min().log10()), float(loss.max().log10()), 18)[1:-1]
        grid = w.numpy(), b.numpy(), loss.numpy()
        shades = surface.contourf(*grid, levels=levels.tolist(), cmap="Blues", norm="log", extend="both")
        bar = figure.colorbar(shades, ax=surface, label="mean squared error", format="%g")
        bar.set_ticks([t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if levels[0] <= t <= levels[-1]])
        bar.minorticks_off()
        surface.plot(*path.T.numpy(), ".-", color=RED, lw=1.2, ms=4, label="one point an epoch")
        surface.plot(*self.start, "o", color=GREY, ms=8, label="start")
        surface.plot(best_slope, best_intercept, "*", color="black", ms=13, label="least squares")
        surface.set(xlabel="slope w", ylabel="intercept b", title="The way down the loss surface")
        for axes in (data, surface):
            axes.grid(alpha=0.2)
            axes.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize=9)
        publish(figure, trainer, folder / "lesson.png", "lesson")


def least_squares(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return the slope and intercept with the smallest squared error: what training can reach at best."""
    design = torch.stack([x, torch.ones_like(x)], 1).double()
    slope, intercept = torch.linalg.lstsq(design, y.double()[:, None]).solution[:, 0].tolist()
    return slope, intercept
