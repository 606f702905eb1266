"""Lesson 2: a line finds its slope."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from gradloop.callbacks.figures import BLUE, GREY, RED, new_figure, save_figure, show_figure


class LinearFit(pl.Callback):
    """Draws data and fitted line, and the way of (slope, intercept) down the loss surface."""

    def __init__(self) -> None:
        self.path: list[list[float]] = []  # (slope, intercept) before training and after every epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self.path:
            self._note(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._note(pl_module)

    def _note(self, module: Any) -> None:
        self.path.append([float(module.network.weight), float(module.network.bias)])

    def state_dict(self) -> dict[str, Any]:
        return {"path": self.path}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.path = list(state_dict["path"])

    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        split: Any = trainer.datamodule.splits["train"]
        x, y = split.inputs[:, 0].cpu(), split.targets[:, 0].cpu()
        slope, intercept = self.path[-1]
        best_slope, best_intercept = least_squares(x, y)
        figure = new_figure(11, 4.5)
        data, surface = figure.subplots(1, 2)
        ends = torch.tensor([float(x.min()), float(x.max())])
        data.plot(x.numpy(), y.numpy(), "o", color=BLUE, ms=4, alpha=0.6, label="data: 2x + U(0, 1)")
        data.plot(ends.numpy(), (slope * ends + intercept).numpy(), color=RED, lw=2.5, label=f"learned: {slope:.2f} x + {intercept:.2f}")
        best = f"least squares: {best_slope:.2f} x + {best_intercept:.2f}"
        data.plot(ends.numpy(), (best_slope * ends + best_intercept).numpy(), color="black", lw=1.2, ls="--", label=best)
        data.set(xlabel="x", ylabel="y", title="The line after training")
        path = torch.tensor(self.path)
        center = torch.tensor([best_slope, best_intercept])
        reach = 1.25 * (path - center).abs().amax(0).clamp(min=1.0)
        w, b = (torch.linspace(float(c - r), float(c + r), 121) for c, r in zip(center, reach, strict=True))
        loss = ((w[None, :, None] * x + b[:, None, None] - y) ** 2).mean(-1)  # [intercepts, slopes]
        levels = torch.logspace(float(loss.min().log10()), float(loss.max().log10()), 18)[1:-1]
        shades = surface.contourf(w.numpy(), b.numpy(), loss.numpy(), levels=levels.tolist(), cmap="Blues", norm="log", extend="both")
        bar = figure.colorbar(shades, ax=surface, label="mean squared error", format="%g")
        bar.set_ticks([t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if levels[0] <= t <= levels[-1]])
        bar.minorticks_off()
        surface.plot(*path.T.numpy(), ".-", color=RED, lw=1.2, ms=4, label="one point an epoch")
        surface.plot(*self.path[0], "o", color=GREY, ms=8, label="start")
        surface.plot(best_slope, best_intercept, "*", color="black", ms=13, label="least squares")
        surface.set(xlabel="slope w", ylabel="intercept b", title="The way down the loss surface")
        for axes in (data, surface):
            axes.grid(alpha=0.2)
            axes.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize=9)
        save_figure(figure, folder / "lesson.png")
        show_figure(trainer, "lesson", figure)


def least_squares(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return the slope and intercept with the smallest squared error: what training can reach at best."""
    design = torch.stack([x, torch.ones_like(x)], 1).double()
    slope, intercept = torch.linalg.lstsq(design, y.double()[:, None]).solution[:, 0].tolist()
    return slope, intercept
