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

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def publish(figure: Figure, trainer: Any, path: Path, tag: str) -> None:
    """Write a figure as PNG, and show it in TensorBoard under `tag` if that logs this run: drawn once for both."""
    import numpy as np
    from lightning.pytorch.loggers import TensorBoardLogger
    from PIL import Image

    canvas: Any = figure.canvas
    canvas.draw()
    pixels = np.array(canvas.buffer_rgba())[..., :3]
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, format="png")
    write_atomically(path, png.getvalue())
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, pixels, trainer.global_step, dataformats="HWC")
