"""Where pictures come from, and how they get into memory without being there twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gradloop.data.augmentation.crop_flip import fill_margin, inside
from gradloop.data.pictures.picture_layout import memory_format, take


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


def channel_statistics(pictures: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, for values from 0 to 1. pictures: uint8.

    A histogram of the 256 values a channel: exact, and without a copy of the data in floats.
    """
    channels = pictures.shape[1]
    histogram = torch.zeros(channels, 256, dtype=torch.int64)
    step = max(1, 2**24 // max(1, pictures[0].numel()))
    for chunk in pictures.split(step):
        for channel in range(channels):
            values = chunk[:, channel].flatten()
            histogram[channel] += torch.bincount(values, minlength=256).cpu()
    values = torch.arange(256, dtype=torch.float64) / 255
    share = histogram.double() / histogram.sum(1, keepdim=True)
    mean = share @ values
    variance = (share * (values - mean[:, None]) ** 2).sum(1)
    std = torch.where(variance > 0, variance.sqrt(), 1.0)  # a constant channel stays at 0
    return tuple(mean.tolist()), tuple(std.tolist())
