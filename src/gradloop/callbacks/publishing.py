"""Pictures of a run: into its folder, and to the loggers that show pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from gradloop.callbacks.tracker import Tracker
from gradloop.drawing.figures import as_png
from gradloop.drawing.tensorboard_images import show_png
from gradloop.runs.folder import write_atomically


def publish(figure: Any, trainer: Any, path: Path | None, tag: str) -> None:
    """Write a figure as PNG, and show it under `tag` in the loggers that show pictures: drawn once for all."""
    png = as_png(figure)
    if path is not None:
        write_atomically(path, png)
    log_png(trainer.loggers, tag, png, trainer.global_step)


def log_png(loggers: Sequence[Any], tag: str, png: bytes, step: int) -> None:
    """Show a PNG in TensorBoard, and in the experiment trackers."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            show_png(logger.experiment, tag, png, step)
        elif isinstance(logger, Tracker):
            logger.log_png(tag, png, step)
