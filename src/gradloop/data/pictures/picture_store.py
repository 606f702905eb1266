"""Where pictures come from and where they are kept: in memory or on disk, in main memory or on the GPU."""

import contextlib
import ctypes
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from gradloop.data.augmentation.geometry import RandomCrop
from gradloop.data.batches import Split
from gradloop.data.pictures.layout import fill_margin, inside, memory_format, take

log = logging.getLogger(__name__)

MOST_PADDING = 1.6  # a kept margin may cost so many times the bytes: with all else, memory stays below twice them


class PictureSource(Protocol):
    """Pictures of one size, somewhere."""

    shape: tuple[int, int, int]  # channels, height, width
    targets: Tensor  # int64 [N]
    names: list[str]  # one a picture

    def chunks(self) -> Iterator[Tensor]:
        """Yield all pictures in order, a few at a time: uint8 [n, C, H, W]."""

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return some of the pictures: uint8 [len(rows), C, H, W]."""


@dataclass(frozen=True)
class Part:
    """Some rows (int64, ascending) of a source."""

    source: PictureSource
    rows: Tensor

    @property
    def targets(self) -> Tensor:
        return self.source.targets[self.rows]

    @property
    def names(self) -> list[str]:
        return [self.source.names[row] for row in self.rows.tolist()]

    def bytes(self, margin: int = 0) -> int:
        """Size in memory with a margin of so many pixels."""
        channels, height, width = self.source.shape
        return len(self.rows) * channels * (height + 2 * margin) * (width + 2 * margin)


class StoredPictures:
    """Pictures that stay where they are: what a tensor uint8 [N, C, H, W] answers, as far as batches ask."""

    dtype = torch.uint8
    device = torch.device("cpu")

    def __init__(self, part: Part, *, channels_last: bool) -> None:
        self.part = part
        self.channels_last = channels_last
        self.shape = torch.Size((len(part.rows), *part.source.shape))

    def __len__(self) -> int:
        return len(self.part.rows)

    def __getitem__(self, rows: Tensor) -> Tensor:
        pictures = self.part.source[self.part.rows[rows]]
        return pictures.contiguous(memory_format=memory_format(self.channels_last))

    def is_floating_point(self) -> bool:
        return False


def read_into_memory(
    parts: dict[str, Part], *, margins: dict[str, int], mode: str, channels_last: bool
) -> dict[str, Tensor]:
    """Return each part as a tensor uint8 [n, C, H + 2m, W + 2m] whose margin is filled (see `fill_margin`).

    Every source is read once, chunk by chunk, straight to its final place, so that memory holds a picture once.
    What reading itself takes weighs least while little has been read: the largest source comes last.
    """
    stores = {}
    for name, part in parts.items():
        channels, height, width = part.source.shape
        margin = margins.get(name, 0)
        stores[name] = torch.empty(
            (len(part.rows), channels, height + 2 * margin, width + 2 * margin),
            dtype=torch.uint8,
            memory_format=memory_format(channels_last),
        )
    sources = {id(part.source): part.source for part in parts.values()}.values()
    for source in sorted(sources, key=lambda source: len(source.names)):
        start = 0
        for chunk in source.chunks():
            stop = start + len(chunk)
            for name, part in parts.items():
                if part.source is not source:
                    continue
                first, last = torch.searchsorted(part.rows, torch.tensor([start, stop])).tolist()
                if first < last:
                    place = stores[name][first:last]
                    margin = margins.get(name, 0)
                    inside(place, margin).copy_(take(chunk, part.rows[first:last] - start))
                    fill_margin(place, margin, mode)
            start = stop
    return stores


def keep(
    parts: dict[str, Part], *, in_memory: str | bool, crop: RandomCrop | None, channels_last: bool
) -> tuple[dict[str, Any], Tensor | None]:
    """Return each part's pictures, and the training part's with its margin if that is kept.

    in_memory: `auto` reads them into memory if they take less than half of what is free, and says so.
    """
    distinct: dict[str, Part] = {}  # a test part that is the validation part is read once
    for name, part in parts.items():
        if not any(part is other for other in distinct.values()):
            distinct[name] = part
    if not _fits(distinct, in_memory):
        return {name: StoredPictures(part, channels_last=channels_last) for name, part in parts.items()}, None
    margin, mode = (crop.padding, crop.mode) if crop is not None else (0, "zero")
    if distinct["train"].bytes(margin) > MOST_PADDING * distinct["train"].bytes():
        margin = 0  # padded batch by batch instead
    stores = read_into_memory(distinct, margins={"train": margin}, mode=mode, channels_last=channels_last)
    padded = stores["train"] if margin else None
    stores["train"] = inside(stores["train"], margin)
    same = {id(part): stores[name] for name, part in distinct.items()}
    return {name: same[id(part)] for name, part in parts.items()}, padded


def _fits(parts: dict[str, Part], in_memory: str | bool) -> bool:
    needed, free = sum(part.bytes() for part in parts.values()), free_memory()
    fits = needed < free / 2 if in_memory == "auto" else bool(in_memory)
    log.info(
        "data: %s pictures of %s take %s, %s are free: kept %s (data.in_memory=%s)",
        f"{sum(len(part.rows) for part in parts.values()):,}",
        " x ".join(map(str, next(iter(parts.values())).source.shape)),
        megabytes(needed),
        megabytes(free),
        "in memory" if fits else "on disk",
        str(in_memory).lower(),
    )
    return fits


def on_device(
    splits: dict[str, Split], padded: Tensor | None, *, device: torch.device, force: bool
) -> tuple[dict[str, Split], Tensor | None]:
    """Move the pictures and labels to a GPU if they take less than half of its free memory, or anyway with `force`.

    Where memory is short they stay as they are, and a warning says so.
    """
    whole = {name: split.inputs for name, split in splits.items()}
    if padded is not None:
        whole["train"] = padded
    needed, free = sum(store.numel() for store in whole.values()), torch.cuda.mem_get_info(device)[0]
    try:
        if not force and needed > free / 2:
            raise torch.OutOfMemoryError
        moved = {name: store.to(device) for name, store in whole.items()}
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        log.warning(
            "data: %s of pictures do not fit on %s beside the training (%s free): they stay in main memory",
            megabytes(needed),
            device,
            megabytes(free),
        )
        return splits, padded
    if padded is not None:
        margin = (padded.shape[2] - splits["train"].inputs.shape[2]) // 2
        padded = moved["train"]
        moved["train"] = inside(padded, margin)
    log.info("data: the pictures lie on %s", device)
    return {name: Split(moved[name], split.targets.to(device), split.names) for name, split in splits.items()}, padded


CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Return the bytes this process may still take: the machine's, or its container's if less."""
    return min(_machine(), _container())


def _machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    if "SC_PHYS_PAGES" in names:  # macOS: half of what is built in
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 * 2**30


def _container() -> int:
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return 2**62
    return 2**62 if limit == "max" else max(0, int(limit) - used)


def release_memory() -> None:
    """Give freed memory back to the system, where the C library keeps some for later (glibc: up to 64 MB)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def megabytes(count: int) -> str:
    """Return a size in bytes for a person: '147 MB', '2.9 GB'."""
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
