"""Pages on a regression: the fit, what is left over, and the way to the fit over the loss surface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradloop.reports.page import BLUE, GREEN, GREY, RED, YELLOW

GRID = 121  # points of the loss surface along each axis
MOST_POINTS = 1000  # training samples that the loss surface is drawn from


def fit_page(
    figure: Any,
    title: str,
    parts: dict[str, tuple[Tensor, Tensor]],
    line: tuple[Tensor, Tensor],
    formula: str,
    name: str,
) -> None:
    """Data (x, y) of the parts, each [N], and the fitted curve (x, ŷ)."""
    axes = figure.subplots()
    for (part, (x, y)), color, marker in zip(parts.items(), (BLUE, YELLOW), "os", strict=False):
        crowded = len(x) > 200
        axes.scatter(
            x.numpy(), y.numpy(), color=color, marker=marker, s=30 if crowded else 90, alpha=0.5 if crowded else 0.9,
            label=f"{part} data (n={len(x)})", edgecolor="white", zorder=3 if part == "training" else 2,
        )  # fmt: skip
    axes.plot(*(values.numpy() for values in line), color=RED, lw=3, label=formula, zorder=4)
    axes.set(xlabel=name, ylabel="y")
    figure.suptitle(title)
    axes.grid(alpha=0.3)
    axes.legend()


def residuals_page(figure: Any, title: str, values: Tensor, targets: Tensor) -> None:
    """Residuals y - ŷ over ŷ, and how they are spread. values, targets: [N]."""
    from matplotlib.ticker import MaxNLocator

    left, right = figure.subplots(1, 2, width_ratios=[2.6, 1], sharey=True)
    residuals = (targets - values).numpy()
    rmse = float((residuals**2).mean() ** 0.5)
    crowded = len(values) > 200
    left.scatter(values.numpy(), residuals, color=BLUE, s=20 if crowded else 70, alpha=0.5 if crowded else 0.9)
    left.axhline(0, color="black", lw=1.5)
    left.axhspan(-rmse, rmse, color=GREY, alpha=0.2, label=f"± RMSE = {rmse:.3g}")
    left.set(xlabel="predicted value ŷ", ylabel="residual y - ŷ (unit of y)")
    left.grid(alpha=0.3)
    left.legend(loc="best")
    mean = float(residuals.mean())
    right.hist(residuals, bins=min(30, max(5, round(len(residuals) ** 0.5))), orientation="horizontal", color=BLUE)
    right.axhline(mean, color=RED, lw=3, label=f"mean {mean:+.3g}")
    right.axhline(0, color="black", lw=1.5)
    right.set(xlabel="samples")
    right.grid(alpha=0.3)
    right.legend(loc="best")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)


def predicted_page(figure: Any, title: str, values: Tensor, targets: Tensor) -> None:
    """Predicted over true values, with the diagonal of a perfect fit. values, targets: [N]."""
    axes = figure.subplots()
    crowded = len(values) > 200
    axes.scatter(
        targets.numpy(),
        values.numpy(),
        color=BLUE,
        s=20 if crowded else 70,
        alpha=0.5 if crowded else 0.9,
        label="test data",
    )
    ends = [float(torch.minimum(values, targets).min()), float(torch.maximum(values, targets).max())]
    axes.plot(ends, ends, color="black", ls="--", lw=2, label="perfect: ŷ = y")
    axes.set(xlabel="true value y", ylabel="predicted value ŷ", aspect="equal")
    figure.suptitle(title)
    axes.grid(alpha=0.3)
    axes.legend()


def loss_surface(
    loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, weights: Tensor, biases: Tensor
) -> Tensor:
    """Return the loss of ŷ = w x + b for every pair (w, b): [len(biases), len(weights)]. x, y: [N, 1]."""
    b, w = torch.meshgrid(biases, weights, indexing="ij")
    lines = w.flatten()[:, None, None] * x + b.flatten()[:, None, None]  # [G, N, 1]
    return torch.vmap(lambda line: loss(line, y))(lines).view(len(biases), len(weights))


def best_line(loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return (w, b) of the lowest loss, by L-BFGS from the least-squares line. x, y: [N, 1]."""
    ones = torch.ones_like(x)
    start = torch.linalg.lstsq(torch.cat([x, ones], 1).double(), y.double()).solution.flatten()
    line = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(line[0] * x.double() + line[1], y.double())
        value.backward()
        return value

    optimizer.step(closure)
    return float(line[0].detach()), float(line[1].detach())


def path_page(
    figure: Any,
    title: str,
    loss: Callable[[Tensor, Tensor], Tensor],
    data: tuple[Tensor, Tensor],
    history: list[dict[str, float]],
) -> None:
    """The path of (w, b), epoch by epoch, over the training loss; beside it both against the epoch."""
    from matplotlib.colors import LogNorm

    x, y = (tensor[:MOST_POINTS] for tensor in data)
    best_w, best_b = best_line(loss, x, y)
    path_w, path_b = ([row[name] for row in history] for name in ("weight", "bias"))
    epochs = [row["epoch"] + 1 for row in history]
    weights, biases = (_axis(values, best) for values, best in ((path_w, best_w), (path_b, best_b)))
    surface = loss_surface(loss, x, y, weights, biases).numpy()

    left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
    low = max(float(surface.min()), 1e-12)
    levels = np.geomspace(low, float(surface.max()), 22)
    grid = (weights.numpy(), biases.numpy(), np.maximum(surface, low))
    filled = left.contourf(*grid, levels=levels, norm=LogNorm(), cmap="viridis")
    left.contour(*grid, levels=levels, norm=LogNorm(), colors="white", linewidths=0.4)
    ticks = [m * 10.0**e for e in range(-12, 13) for m in (1, 2, 5) if low <= m * 10.0**e <= float(surface.max())]
    figure.colorbar(filled, ax=left, label="training loss", ticks=ticks[:: len(ticks) // 8 + 1], format="{x:g}")
    left.plot(path_w, path_b, color=RED, lw=3, label="path, epoch by epoch")
    left.plot(path_w[0], path_b[0], "o", color="white", mec="black", ms=13, label=f"epoch {epochs[0]:.0f}")
    left.plot(path_w[-1], path_b[-1], "s", color=RED, mec="black", ms=12, label=f"epoch {epochs[-1]:.0f}")
    left.plot(best_w, best_b, "*", color="yellow", mec="black", ms=22, label="lowest loss")
    left.set(xlabel="weight w", ylabel="bias b", title="the way down")
    left.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=14, handlelength=1.5, columnspacing=1.2
    )
    for values, best, color, label in ((path_w, best_w, BLUE, "w"), (path_b, best_b, GREEN, "b")):
        right.plot(
            epochs, values, color=color, lw=3, label=f"{label} = {values[-1]:.3f} (- - lowest loss: {best:.3f})"
        )
        right.axhline(best, color=color, ls="--", lw=2)
    right.set(xlabel="epoch", ylabel="value", title="w and b")
    right.grid(alpha=0.3)
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=14)
    figure.suptitle(title)


def _axis(values: list[float], best: float) -> Tensor:
    """Return the points of an axis that shows the whole path and the optimum, with room around them."""
    low, high = min(*values, best), max(*values, best)
    room = 0.25 * (high - low) or 1.0
    return torch.linspace(low - room, high + room, GRID)
