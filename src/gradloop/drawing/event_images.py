"""PNGs on TensorBoard's IMAGES tab."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np

from gradloop.drawing.confusion import draw_confusion
from gradloop.drawing.fitted_line import Points, draw_fitted_line

PICTURES = ".pictures"  # how the event file of a run's pictures ends


def add_images(folder: Path, images: dict[str, bytes], *, step: int, suffix: str) -> None:
    """Show PNGs, tag -> bytes, in an event file of their own that replaces the one of an earlier call.

    The bytes go in as they are: nothing is decoded and encoded again. suffix: how the file's name ends.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for path in folder.glob(f"events.out.tfevents.*{suffix}"):
        content = path.read_bytes()
        if any(tag.encode() in content for tag in images):
            path.unlink()
    writer = EventFileWriter(str(folder), filename_suffix=suffix)
    for tag, png in images.items():
        width, height = struct.unpack(">II", png[16:24])  # the header of a PNG
        image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)
        event = Event(step=step, wall_time=time.time(), summary=Summary(value=[Summary.Value(tag=tag, image=image)]))
        writer.add_event(event)
    writer.close()


def show_confusion(folder: Path, counts: np.ndarray, names: list[str], part: str, step: int) -> None:
    """Show a run's confusion matrix, counts [C, C]."""
    add_images(folder, {"confusion matrix": draw_confusion(counts, names, part)}, step=step, suffix=PICTURES)


def show_fit(folder: Path, data: dict[str, Points], line: Points, step: int) -> None:
    """Show a run's fitted line."""
    add_images(folder, {"fit": draw_fitted_line(data, line)}, step=step, suffix=PICTURES)
