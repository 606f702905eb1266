"""A file of decoded pictures: how it is written and read."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gradloop.data.pictures.image_decoding import Broken, Decoding, decode_all
from gradloop.data.pictures.image_scan import Scan
from gradloop.data.pictures.picture_store import megabytes
from gradloop.errors import DataError

log = logging.getLogger(__name__)

CHUNK = 4 * 2**20  # bytes read at a time


class DecodedPictures:
    """Pictures in a file of uint8 [N, H, W, C] without a header: a `PictureSource`.

    shape: (height, width, channels). broken: rows that are black because their files are broken, and why.
    """

    def __init__(self, path: Path, found: Scan, *, shape: tuple[int, int, int], broken: Broken) -> None:
        height, width, channels = shape
        self.path = path
        self.shape = (channels, height, width)
        self.targets = torch.tensor([file.label for file in found.files], dtype=torch.int64)
        self.names = [file.name for file in found.files]
        self.broken = broken

    def chunks(self) -> Iterator[Tensor]:
        channels, height, width = self.shape
        size = channels * height * width
        count = max(1, CHUNK // size)
        with open(self.path, "rb") as file:  # plain reads: pages of a memory map would count as this process's memory
            for start in range(0, len(self.names), count):
                rows = min(count, len(self.names) - start)
                values = np.fromfile(file, dtype=np.uint8, count=rows * size)
                yield torch.from_numpy(values.reshape(rows, height, width, channels)).permute(0, 3, 1, 2)

    def __getitem__(self, rows: Tensor) -> Tensor:
        channels, height, width = self.shape
        pictures = np.memmap(self.path, np.uint8, "r", shape=(len(self.names), height, width, channels))
        return torch.from_numpy(pictures[rows.numpy()]).permute(0, 3, 1, 2)


def decode_to_file(
    found: Scan, target: Path, decoding: Decoding, *, shape: tuple[int, int, int], threads: int, skip: bool
) -> Broken:
    """Decode every picture into `target`; return which are broken, or raise `DataError` unless `skip`."""
    count = len(found.files)
    size, free = count * int(np.prod(shape)), shutil.disk_usage(target.parent).free
    if size > free:
        raise DataError(
            f"data.cache_dir={target.parent}: {count:,} decoded pictures take {megabytes(size)} and"
            f" {megabytes(free)} are free; give another folder or a smaller data.image_size"
        )
    log.info("data: decoding %s pictures of %s", f"{count:,}", found.root)
    started = time.monotonic()
    broken: Broken = {}
    paths = [f"{found.root}/{file.name}" for file in found.files]
    with open(target, "wb") as file, _bar(count) as advance:
        for values, wrong in decode_all(paths, decoding, shape=shape, threads=threads):
            file.write(values.data)
            broken.update(wrong)
            advance(len(values))
    log.info("data: decoded %s pictures in %.1f s", f"{count:,}", time.monotonic() - started)
    if broken and not skip:
        raise refusal([file.name for file in found.files], broken)
    return broken


def refusal(names: Sequence[str], broken: Broken) -> DataError:
    """Name the first broken files and count them all."""
    shown = "; ".join(f"{names[row]} {why}" for row, why in list(broken.items())[:3])
    more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
    return DataError(
        f"data.root: {len(broken)} of {len(names)} pictures can't be used: {shown}{more}"
        " (data.broken=skip leaves them out)"
    )


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, and nothing elsewhere; yields what advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("decoding", total=total)
        yield lambda count: progress.advance(task, count)
