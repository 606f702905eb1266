"""Lesson 2: a line finds its slope."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from gradloop.callbacks.hook import Hook
from gradloop.callbacks.lessons.page import show_lesson
from gradloop.drawing.charts import draw_fit, draw_surface
from gradloop.drawing.figures import new_figure, style
from gradloop.errors import ConfigError


class LinearFit(Hook):
    """Draws data and fitted line, and the way of (slope, intercept) down the loss surface."""

    def __init__(self) -> None:
        self.start: list[float] = []  # (slope, intercept) before training; the history has those after every epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self.start:
            if pl_module.line is None:
                what = "draws y = weight x + bias, and this is another network"
                raise ConfigError(f"experiment=lesson/2_training_loop: {what}")
            self.start = [part.item() for part in pl_module.line]

    def state_dict(self) -> dict[str, Any]:
        return {"start": self.start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start = state_dict["start"]

    @style()
    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        split: Any = trainer.datamodule.splits["train"]
        x, y = split.inputs[:, 0].cpu(), split.targets[:, 0].cpu()
        path = torch.tensor([self.start, *([row["weight"], row["bias"]] for row in module.run.history)])
        best = least_squares(x, y)
        figure = new_figure(11, 5)
        data, surface = figure.subplots(1, 2)
        ends = torch.stack([x.min(), x.max()])
        lines = {
            f"{name}: {rounded(a)} x {'-' if b < 0 else '+'} {rounded(abs(b))}": (
                ends.numpy(),
                (a * ends + b).numpy(),
            )
            for name, (a, b) in {"learned": path[-1].tolist(), "least squares": best}.items()
        }
        draw_fit(data, {"data": (x.numpy(), y.numpy())}, lines)
        data.set(xlabel="x", ylabel="y", title="the line after training")
        center = torch.tensor(best)
        reach = 1.25 * (path - center).abs().amax(0).clamp(min=1.0)
        w, b = (torch.linspace(float(c - r), float(c + r), 121) for c, r in zip(center, reach, strict=True))
        loss = ((w[None, :, None] * x + b[:, None, None] - y) ** 2).mean(-1)  # [intercepts, slopes]
        draw_surface(
            surface, w.numpy(), b.numpy(), loss.numpy(), tuple(path.T.numpy()), best, label="mean squared error"
        )
        show_lesson(figure, trainer, self.run, folder)


def rounded(number: float) -> str:
    """Two decimals, or three digits of what is far too large."""
    return f"{number:.2f}" if abs(number) < 1e4 else f"{number:.3g}"


def least_squares(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return the slope and intercept with the smallest squared error: what training can reach at best."""
    design = torch.stack([x, torch.ones_like(x)], 1).double()
    slope, intercept = torch.linalg.lstsq(design, y.double()[:, None]).solution[:, 0].tolist()
    return slope, intercept
