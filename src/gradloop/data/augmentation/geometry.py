"""Random crops with padding, flips and rotations of whole batches, each picture by its own draw."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gradloop.data.knobs import check
from gradloop.data.pictures.layout import blocks, is_channels_last, logical_order, memory_order
from gradloop.errors import ConfigError


class Crops(NamedTuple):
    """Where the crops of an epoch lie: the first row and column in the padded picture, int64 [N]."""

    top: Tensor
    left: Tensor


class RandomCrop:
    """A crop of `size` pixels at a random place of the picture padded by `padding` pixels on every side.

    size: pixels of the square crop, or null for the picture's own height and width.
    size_epochs: use `size` only in the first so many epochs (small pictures first train faster); null: in
    all.
    """

    draws = 2

    def __init__(self, *, padding: int, mode: str, size: int | None, size_epochs: int | None) -> None:
        self.padding, self.mode, self.size, self.size_epochs = padding, mode, size, size_epochs
        check("augmentation.random_crop", "RandomCrop", **vars(self))
        self.active = padding > 0 or size is not None

    def check(self, height: int, width: int) -> None:
        """Raise `ConfigError` if pictures of height x width pixels can't be cropped this way."""
        shorter = min(height, width)
        if self.mode == "reflect" and self.padding >= shorter:
            raise ConfigError(
                f"augmentation.random_crop.padding={self.padding}: reflecting needs less than the picture's"
                f" {shorter} pixels"
            )
        if self.size is not None and self.size > shorter + 2 * self.padding:
            raise ConfigError(
                f"augmentation.random_crop.size={self.size}: larger than the padded picture"
                f" ({shorter + 2 * self.padding} pixels)"
            )

    def output_size(self, height: int, width: int, epoch: int) -> tuple[int, int]:
        """Return height and width of the crops in that epoch."""
        small = self.size is not None and (self.size_epochs is None or epoch < self.size_epochs)
        return (self.size, self.size) if small and self.size is not None else (height, width)

    def plan(self, uniform: Tensor, height: int, width: int, epoch: int) -> Crops:
        """Turn uniform numbers [N, 2] into places: each of the possible ones equally likely."""
        new_height, new_width = self.output_size(height, width, epoch)
        return Crops(
            top=choose(uniform[:, 0], height + 2 * self.padding - new_height + 1),
            left=choose(uniform[:, 1], width + 2 * self.padding - new_width + 1),
        )


def choose(uniform: Tensor, choices: int) -> Tensor:
    """Turn uniform numbers in [0, 1) into whole numbers 0 … choices - 1, int64."""
    return (uniform * choices).long().clamp_(max=choices - 1)


def crop(padded: Tensor, rows: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the crops of the given rows: [B, C, height, width], uint8, in the source's order of bytes.

    Every crop of every picture is an overlapping slice of one strided view over the bytes, numbered by the
    byte it starts at. Taking a batch is then a single `index_select`, which copies a crop row by row, not
    value by value.
    """
    channels_last = is_channels_last(padded)
    source = memory_order(padded)
    picture, *strides = source.stride()
    shape = (*size, padded.shape[1]) if channels_last else (padded.shape[1], *size)
    down, right = (strides[0], strides[1]) if channels_last else (strides[1], strides[2])
    last = sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    count = (source.shape[0] - 1) * picture + sum(
        (length - 1) * stride for length, stride in zip(source.shape[1:], strides, strict=True)
    )
    every_crop = source.as_strided((count - last + 1, *shape), (1, *strides))
    starts = rows * picture + top * down + left * right
    return logical_order(every_crop.index_select(0, starts), channels_last)


class HorizontalFlip:
    """Mirror left and right with the given probability.

    alternating: each picture is mirrored in every second epoch instead, half of them beginning with the
    first; the network then sees both sides equally often (Jordan 2024, arXiv 2404.00498).
    """

    draws = 1

    def __init__(self, *, probability: float, alternating: bool) -> None:
        self.probability, self.alternating = probability, alternating
        check("augmentation.horizontal_flip", "HorizontalFlip", **vars(self))
        self.active = probability > 0 or alternating

    def plan(self, uniform: Tensor, epoch: int) -> Tensor:
        """Return which are mirrored, bool [N]: by position, or by row of the data if alternating."""
        if self.alternating:
            return (uniform[:, 0] < 0.5) ^ (epoch % 2 == 1)
        return uniform[:, 0] < self.probability

    @staticmethod
    def apply(pictures: Tensor, mirrored: Tensor) -> Tensor:
        """Mirror the chosen (bool [B]) in place. pictures: uint8 [B, C, H, W] of the caller's own."""
        chosen = mirrored.nonzero()[:, 0]
        words = blocks(pictures)
        part = words.index_select(0, chosen).view(pictures.dtype)
        channels_last = is_channels_last(pictures)
        part = part.view(-1, *memory_order(pictures).shape[1:]).flip(2 if channels_last else 3)
        words.index_copy_(0, chosen, part.flatten(1).view(words.dtype))
        return pictures


class Rotation:
    """Turn each picture around its centre by an angle from U(-degrees, degrees), bilinear.

    What would come from outside the picture is the picture mirrored at its edge: black corners would tell the
    network the angle.
    """

    draws = 1

    def __init__(self, *, degrees: float) -> None:
        self.degrees = degrees
        check("augmentation.rotation", "Rotation", degrees=degrees)
        self.active = degrees > 0

    def plan(self, uniform: Tensor) -> Tensor:
        """Turn uniform numbers [N, 1] into angles [N] in radians, counter-clockwise."""
        return (2 * uniform[:, 0] - 1) * self.degrees * (torch.pi / 180)

    @staticmethod
    def apply(pictures: Tensor, angles: Tensor) -> Tensor:
        """Return the turned pictures. pictures: float [B, C, H, W]; angles: [B], radians."""
        height, width = pictures.shape[2:]
        cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
        # the grid's coordinates run from -1 to 1 along both edges: pixels aren't square in them
        first = torch.stack([cos, -sin * (height / width), zero], dim=1)
        second = torch.stack([sin * (width / height), cos, zero], dim=1)
        grid = functional.affine_grid(torch.stack([first, second], dim=1), list(pictures.shape), align_corners=False)
        return functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
