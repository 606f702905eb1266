"""The curves of a run as a picture."""

from __future__ import annotations

import io
from pathlib import Path

from gradloop.runs.folder import write_atomically

COLORS = {"train": "#4477aa", "val": "#ee6677", "test": "#228833"}


def save_curves(path: Path, history: list[dict[str, float]], title: str) -> None:
    """Draw the curves into a file."""
    write_atomically(path, draw_curves(history, title=title))


def draw_curves(history: list[dict[str, float]], *, title: str) -> bytes:
    """Return a PNG: one panel a quantity, training and validation on one axis, the epoch below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    measured = dict.fromkeys(name for row in history for name in row if "/" in name)
    quantities = list(dict.fromkeys(name.split("/", 1)[1] for name in measured))
    columns = len(quantities)
    figure = Figure(figsize=(5 * columns, 3.8))
    FigureCanvasAgg(figure)
    # fixed margins: working them out would take longer than drawing
    figure.subplots_adjust(
        left=0.65 / (5 * columns), right=1 - 0.15 / (5 * columns), bottom=0.14, top=0.84, wspace=0.2
    )
    for axes, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
        for stage, color in COLORS.items():
            points = [
                (row["epoch"] + 1, row[f"{stage}/{quantity}"]) for row in history if f"{stage}/{quantity}" in row
            ]
            if points:
                label = {"train": "training", "val": "validation"}.get(stage, stage)
                axes.plot(
                    *zip(*points, strict=True),
                    color=color,
                    label=label,
                    lw=2,
                    marker="o" if len(points) < 3 else "",
                )
        values = [row[n] for row in history for n in row if n.endswith(f"/{quantity}")]
        if quantity == "loss" and min(values) > 0 and max(values) > 30 * min(values):
            axes.set_yscale("log")
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.set_title(quantity, y=1.0)  # a given height need not be searched
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(title, fontsize=10)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return png.getvalue()
