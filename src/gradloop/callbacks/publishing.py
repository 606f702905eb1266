"""Pictures of a run: into its folder, and to the loggers that show pictures, as they are."""

import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from gradloop.callbacks.tracker import Tracker
from gradloop.drawing.figures import as_png
from gradloop.runs.event_file import EventFile
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


def show_png(writer: Any, tag: str, png: bytes, step: int) -> None:
    """Show a PNG, as it is, on TensorBoard's IMAGES tab. writer: torch's SummaryWriter, or an EventFile."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", png[16:24])  # the header of a PNG
    image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    getattr(writer, "file_writer", writer).add_event(Event(step=step, wall_time=time.time(), summary=summary))


def add_images(folder: Path, images: dict[str, bytes], *, step: int, suffix: str) -> None:
    """Show PNGs, tag -> bytes, on TensorBoard's IMAGES tab, without a trainer.

    They go into an event file of their own, which replaces the one of an earlier call. suffix: how its name ends.
    """
    for path in folder.glob(f"events.out.tfevents.*{suffix}"):
        content = path.read_bytes()
        if any(tag.encode() in content for tag in images):
            path.unlink()
    writer = EventFile(folder, suffix=suffix)
    for tag, png in images.items():
        show_png(writer, tag, png, step)
    writer.close()
