"""What several places draw: curves over epochs, the confusion matrix, a fit and its data, a loss surface."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from gradloop.drawing import BLACK, BLUE, GREEN, GREY, ORANGE, RED
from gradloop.drawing.figures import as_png, name_ticks, new_figure, number, style
from gradloop.drawing.labels import text_width
from gradloop.runs.labels import STAGED

BELOW = (0.5, -0.14)  # where a legend stands below the axes
STAGES = {"train": (BLUE, "training"), "val": (ORANGE, "validation"), "test": (GREEN, "test")}

Points = tuple[Any, Any]  # x and y, [N] each or [N, 1]
Curve = tuple[Sequence[tuple[float, float]], dict[str, Any]]  # (epoch, value) of each point; how the line looks


@style()
def curves_png(history: list[dict[str, float]], title: str, best: int | None = None) -> bytes:
    """Return the curves of a run as PNG: a panel a quantity, training and validation on one axis.

    history: one row an epoch, `<stage>/<quantity>` or `<stage>_<quantity>` -> value.
    best: the epoch whose weights are kept, from 1.
    """
    measured = dict.fromkeys(name for row in history for name in row)
    panels: dict[str, list[Curve]] = {}
    for name, (stage, quantity) in quantities(measured).items():
        color, label = STAGES[stage]
        points = [(row["epoch"], row[name]) for row in history if name in row]
        panels.setdefault(quantity, []).append((points, {"color": color, "label": label, "lw": 2}))
    width = 5.0 * max(1, len(panels))
    figure = new_figure(width, 3.8, layout=None)
    # fixed margins: working them out would take longer than drawing
    figure.subplots_adjust(left=0.85 / width, right=1 - 0.15 / width, bottom=0.13, top=0.82, wspace=0.25)
    for axes in draw_curves(figure, panels):
        if best is not None:
            axes.axvline(best, color=BLACK, lw=1, ls=":", label=f"best: epoch {best}")
        axes.legend()
    figure.suptitle(title, y=0.97)
    return as_png(figure)


def quantities(measured: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the stage and the quantity of each name that tells both, training first: train_loss -> train, loss."""
    found = [(name, told) for name in measured if (told := STAGED.fullmatch(name)) is not None]
    found.sort(key=lambda pair: list(STAGES).index(pair[1]["stage"]))
    return {name: (told["stage"], told["quantity"]) for name, told in found}


def draw_curves(figure: Any, panels: dict[str, list[Curve]]) -> list[Any]:
    """Draw curves over the epoch, one panel a quantity; a loss that spans factors gets a logarithmic axis."""
    from matplotlib.ticker import MaxNLocator

    every = list(figure.subplots(1, len(panels), squeeze=False)[0]) if panels else []
    for axes, (quantity, curves) in zip(every, panels.items(), strict=True):
        values = []
        for points, looks in curves:
            if points:
                axes.plot(*zip(*points, strict=True), marker="o" if len(points) < 3 else "", **looks)
                values += [value for _, value in points]
        if quantity == "loss" and values and min(values) > 0 and max(values) > 30 * min(values):
            axes.set_yscale("log")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.set_xlim(left=max(0.5, axes.get_xlim()[0]))  # epochs count from 1
        axes.set_title(quantity, y=1.0)  # a given height need not be searched
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return every


def label_ends(axes: Any, ends: list[tuple[float, float, str, str]]) -> None:
    """Name lines where they end, one name above the other where they meet. ends: (value, epoch, name, colour).

    The figure must have been laid out before: names lie where there is room for them. A line that ends long before
    the others has its name at its very end: a leader across them would be taken for more of it.
    """
    from matplotlib.transforms import offset_copy

    if not ends:
        return
    last = max(epoch for _, epoch, _, _ in ends)
    for value, epoch, name, color in [end for end in ends if end[1] < 0.95 * last]:
        axes.plot(epoch, value, "o", color=color, ms=4)
        axes.annotate(name, (epoch, value), (4, 4), textcoords="offset points", fontsize=9)
    ends = [end for end in ends if end[1] >= 0.95 * last]
    step = 11 * axes.figure.dpi / 72  # dots
    right, (first, last) = max(epoch for _, epoch, _, _ in ends), axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if first <= tick <= right]
    axes.set_xlim(first, last + 0.07 * (last - first))  # for the names
    axes.set_xticks(ticks)
    leader = {"arrowstyle": "-", "lw": 0.9, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 2}
    beside = offset_copy(axes.transData, axes.figure, x=20, units="points")
    ends = sorted(end for end in ends if math.isfinite(end[0]))
    count = len(ends)
    heights = [float(axes.transData.transform((0, end[0]))[1]) - step * place for place, end in enumerate(ends)]
    low, high = axes.bbox.y0 + step / 2, axes.bbox.y1 - step * (count - 0.5)
    for place, (value, epoch, name, color) in enumerate(ends):
        # least squares of what must rise by a step: the min-max formula of isotonic regression
        means = (min(fmean(heights[i:k]) for k in range(place + 1, count + 1)) for i in range(place + 1))
        dots = max(min(max(means), high), low) + step * place  # within the axes
        y = float(axes.transData.inverted().transform((0, dots))[1])
        axes.plot(epoch, value, "o", color=color, ms=4)
        axes.annotate(
            name, (epoch, value), (right, y), va="center", fontsize=9, annotation_clip=False, textcoords=beside,
            arrowprops=leader | {"color": color},
        )  # fmt: skip


@style()
def confusion_png(counts: np.ndarray, names: Sequence[str], title: str, **dots: int) -> bytes:
    """Return counts [C, C] as PNG: rows are true classes, columns predicted ones, colours shares of the row.

    The margins are fixed, for letters of their usual size: working them out takes as long as drawing.
    """
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    counted = len(names) <= 20
    longest = max(map(text_width, names))
    # inches
    side = max(4.0, (0.5 if counted else 0.22) * len(names) + 2)
    left, bottom = 0.7 + longest, 0.7 + (longest if longest > 0.4 else 0.0)
    width, height = left + side + 0.7, bottom + side - 0.6
    figure = new_figure(width, height, layout=None)
    figure.subplots_adjust(left=left / width, right=1 - 0.35 / width, bottom=bottom / height, top=1 - 0.4 / height)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    for (row, column), count in np.ndenumerate(counts) if counted else ():
        # what is not there must not drown what is
        color = GREY if count == 0 else "white" if shares[row, column] > 0.5 else BLACK
        axes.text(column, row, str(int(count)), ha="center", va="center", color=color)
    ticks = range(len(names))
    name_ticks(axes, ticks, names)
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    figure.suptitle(f"{title}: {int(counts.trace())} of {int(counts.sum())} right", y=1 - 0.12 / height)
    return as_png(figure, **dots)


@style()
def fit_png(parts: dict[str, Points], line: Points) -> bytes:
    """Return a fitted line and its data as PNG."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    draw_fit(axes, parts, {"fit": line})
    axes.set(xlabel="x", ylabel="y", title="data and fit")
    return as_png(figure)


def draw_fit(axes: Any, parts: dict[str, Points], lines: dict[str, Points]) -> None:
    """Draw the points of each part of the data, and the fitted lines over them; the first is what was learned."""
    for (part, points), color, marker in zip(parts.items(), (BLUE, ORANGE), "os", strict=False):
        axes.scatter(*points, color=color, marker=marker, label=part, zorder=2, **dots_of(len(points[0])))
    looks: Iterable[dict[str, Any]] = ({"color": RED, "lw": 2.5}, {"color": BLACK, "lw": 1.2, "ls": "--"})
    for (label, line), look in zip(lines.items(), looks, strict=False):
        axes.plot(*line, label=label, zorder=3, **look)
    axes.legend()


def dots_of(count: int) -> dict[str, Any]:
    """Return how so many points are drawn: smaller and fainter in a crowd."""
    return {"s": 10, "alpha": 0.5} if count > 200 else {"s": 30, "alpha": 0.8, "edgecolor": "white", "linewidth": 0.5}


def draw_surface(
    axes: Any, w: np.ndarray, b: np.ndarray, loss: np.ndarray, path: Points, best: Points, *, first: str = "start",
    label: str = "training loss",
) -> None:  # fmt: skip
    """Draw the loss [len(b), len(w)] of ŷ = w x + b, the path of (w, b) over it, and the lowest point.

    first: what the path begins with. label: what the loss is.
    """
    low, high = max(float(loss.min()), 1e-12), float(loss.max())
    levels = np.geomspace(low, max(high, low * 1.001), 22)
    filled = axes.contourf(w, b, np.maximum(loss, low), levels=levels, norm="log", cmap="Blues")
    axes.contour(w, b, np.maximum(loss, low), levels=levels, norm="log", colors="white", linewidths=0.4)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(max(high, low))) + 1)
    ticks = [m * 10.0**e for e in powers for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    bar = axes.figure.colorbar(filled, ax=axes, label=label, ticks=ticks[:: len(ticks) // 8 + 1])
    bar.ax.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.plot(*path, ".-", color=RED, lw=1.5, ms=4, label="path, epoch by epoch")
    axes.plot(path[0][0], path[1][0], "o", color="white", mec=BLACK, ms=8, label=first, zorder=4)
    axes.plot(path[0][-1], path[1][-1], "s", color=RED, mec=BLACK, ms=7, label="end")
    axes.plot(*best, "*", color=ORANGE, mec=BLACK, ms=13, label=f"lowest {label.removeprefix('training ')}")
    axes.set(xlabel="weight w", ylabel="bias b", title="the way down")
    axes.legend(loc="upper center", bbox_to_anchor=BELOW, ncols=2)
