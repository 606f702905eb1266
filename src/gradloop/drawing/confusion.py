"""The confusion matrix as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np


def confusion_figure(counts: np.ndarray, names: Sequence[str], part: str, *, layout: Any = None) -> Any:
    """Return a figure of counts [C, C]: rows are true classes, columns predicted ones, colours shares of the row.

    layout: Matplotlib's layout engine. Without one the margins are fixed, for letters of its usual size: working
    them out takes as long as drawing.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(4.0, 0.5 * len(names) + 2)
    longest = max(map(len, names))
    turned = longest > 3
    # inches
    left, bottom = 0.6 + 0.085 * longest, 0.6 + (0.065 * longest if turned else 0.0)
    width, height = left + side + 0.7, bottom + side - 0.6
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    if layout is None:
        figure.subplots_adjust(
            left=left / width, right=1 - 0.35 / width, bottom=bottom / height, top=1 - 0.4 / height
        )
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    if len(names) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(int(count)), ha="center", va="center", color=color, fontsize=9)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45 if turned else 0)
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"{part}: {int(counts.trace())} of {int(counts.sum())} right", fontsize=11, y=1.0)
    return figure


def draw_confusion(counts: np.ndarray, names: Sequence[str], part: str) -> bytes:
    """Return `confusion_figure` as PNG."""
    png = io.BytesIO()
    confusion_figure(counts, names, part).savefig(png, format="png")
    return png.getvalue()
