"""Figures without a window: drawn on Agg, written whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradloop.runs.folder import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, RED, GREEN, YELLOW, GREY = "#4477aa", "#ee6677", "#228833", "#ccbb44", "#777777"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of width x height inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    write_atomically(path, png.getvalue())


def show_figure(trainer: Any, tag: str, figure: Figure) -> None:
    """Add a figure to TensorBoard, if that logs this run."""
    from lightning.pytorch.loggers import TensorBoardLogger

    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(tag, figure, trainer.global_step)
