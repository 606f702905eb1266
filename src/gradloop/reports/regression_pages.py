"""Pages on a regression: the fit, what is left over, and the way to the fit over the loss surface."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradloop.drawing import BLACK, BLUE, GREEN, GREY, RED
from gradloop.drawing.charts import BELOW, Points, dots_of, draw_fit, draw_surface
from gradloop.drawing.figures import number
from gradloop.reports.predictions import spaced

GRID = 121  # points of the loss surface along each axis
MOST_POINTS = 1000  # training samples that the loss surface is drawn from


def fit_page(figure: Any, title: str, parts: dict[str, Points], line: Points, formula: str, name: str) -> None:
    """Data (x, y) of the parts, each [N], and the fitted curve (x, ŷ)."""
    axes = figure.subplots()
    draw_fit(axes, {f"{part} data (n={len(x)})": (x, y) for part, (x, y) in parts.items()}, {formula: line})
    axes.set(xlabel=name, ylabel="y")
    figure.suptitle(title)


def residuals_page(figure: Any, title: str, values: Tensor, targets: Tensor) -> None:
    """Residuals y - ŷ over ŷ, and how they are spread. values, targets: [N]."""
    from matplotlib.ticker import MaxNLocator

    left, right = figure.subplots(1, 2, width_ratios=[2.6, 1], sharey=True)
    residuals = (targets - values).numpy()
    rmse, mean = float((residuals**2).mean() ** 0.5), float(residuals.mean())
    left.scatter(values, residuals, color=BLUE, **dots_of(len(values)))
    left.axhspan(-rmse, rmse, color=GREY, alpha=0.2, label=f"± RMSE = {number(rmse)}")
    left.set(xlabel="predicted value ŷ", ylabel="residual y - ŷ (unit of y)")
    right.hist(residuals, bins=min(30, max(5, round(len(residuals) ** 0.5))), orientation="horizontal", color=BLUE)
    right.axhline(mean, color=RED, lw=2, label=f"mean {number(mean)}")
    right.set(xlabel="samples")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, right):
        axes.axhline(0, color=BLACK, lw=1)
        axes.legend()
    figure.suptitle(title)


def predicted_page(figure: Any, title: str, values: Tensor, targets: Tensor) -> None:
    """Predicted over true values, with the diagonal of a perfect fit. values, targets: [N]."""
    axes = figure.subplots()
    axes.scatter(targets, values, color=BLUE, label="test data", **dots_of(len(values)))
    ends = [float(torch.minimum(values, targets).min()), float(torch.maximum(values, targets).max())]
    axes.plot(ends, ends, color=BLACK, ls="--", label="perfect: ŷ = y")
    axes.set(xlabel="true value y", ylabel="predicted value ŷ", aspect="equal")
    axes.legend()
    figure.suptitle(title)


def loss_surface(
    loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, weights: Tensor, biases: Tensor
) -> Tensor:
    """Return the loss of ŷ = w x + b for every pair (w, b): [len(biases), len(weights)]. x, y: [N, 1]."""
    b, w = torch.meshgrid(biases, weights, indexing="ij")
    lines = w.flatten()[:, None, None] * x + b.flatten()[:, None, None]  # [G, N, 1]
    try:
        found = torch.vmap(lambda line: loss(line, y))(lines)
    except Exception:  # `vmap` does not take what looks at values
        found = torch.stack([torch.as_tensor(loss(line, y)) for line in lines])
    return found.view(len(biases), len(weights))


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
    from matplotlib.ticker import MaxNLocator

    x, y = (tensor[spaced(len(tensor), MOST_POINTS)] for tensor in data)
    best = best_line(loss, x, y)
    path = [row["weight"] for row in history], [row["bias"] for row in history]
    epochs = [row["epoch"] for row in history]
    weights, biases = (_axis(values, end) for values, end in zip(path, best, strict=True))
    surface = loss_surface(loss, x, y, weights, biases).numpy()
    left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
    draw_surface(left, weights.numpy(), biases.numpy(), surface, path, best, first=f"after epoch {epochs[0]:.0f}")
    for values, end, color, name in zip(path, best, (BLUE, GREEN), "wb", strict=True):
        label = f"{name} = {number(values[-1])} (- - lowest loss: {number(end)})"
        right.plot(epochs, values, color=color, lw=2, marker="o" if len(epochs) < 3 else "", label=label)
        right.axhline(end, color=color, ls="--")
    right.set(xlabel="epoch", ylabel="value", title="w and b")
    right.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    right.legend(loc="upper center", bbox_to_anchor=BELOW)
    figure.suptitle(title)


def _axis(values: list[float], best: float) -> Tensor:
    """Return the points of an axis that shows the whole path and the optimum, with room around them."""
    low, high = min(*values, best), max(*values, best)
    room = 0.25 * (high - low) or 1.0
    return torch.linspace(low - room, high + room, GRID)
