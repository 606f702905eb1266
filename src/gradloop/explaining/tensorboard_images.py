"""The pages on TensorBoard's IMAGES tab."""

from __future__ import annotations

import struct
from pathlib import Path

SUFFIX = ".explain"


def add_images(folder: Path, images: dict[str, bytes], *, step: int) -> None:
    """Show PNGs as `explain/<name>`, in an event file of their own that replaces the one of an earlier call.

    The bytes go in as they are: nothing is decoded and encoded again.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard import SummaryWriter

    for path in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
        if any(tag in path.read_bytes() for tag in (f"explain/{name}".encode() for name in images)):
            path.unlink()
    with SummaryWriter(str(folder), filename_suffix=SUFFIX) as writer:
        for name, png in images.items():
            width, height = struct.unpack(">II", png[16:24])  # the header of a PNG
            image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)
            summary = Summary(value=[Summary.Value(tag=f"explain/{name}", image=image)])
            writer._get_file_writer().add_summary(summary, step)
