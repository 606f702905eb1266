"""How pictures lie in memory: [N, C, H, W] to every reader, either order of bytes underneath.

Channels-last pictures are as fast or faster in convolutions, and a row of a crop is one run of bytes. Code
that walks over memory asks for `memory_order` once and works on that.
"""

from __future__ import annotations

import torch
from torch import Tensor


def is_channels_last(pictures: Tensor) -> bool:
    """Whether the values of one pixel lie side by side. pictures: [N, C, H, W]."""
    return pictures.shape[1] > 1 and pictures.stride(1) == 1


def memory_format(channels_last: bool) -> torch.memory_format:
    """Torch's name for the order of bytes."""
    return torch.channels_last if channels_last else torch.contiguous_format


def memory_order(pictures: Tensor) -> Tensor:
    """Return a view in the order of memory: [N, H, W, C] if channels-last, else [N, C, H, W]."""
    return pictures.permute(0, 2, 3, 1) if is_channels_last(pictures) else pictures


def logical_order(pictures: Tensor, channels_last: bool) -> Tensor:
    """Undo `memory_order`: return a view [N, C, H, W]."""
    return pictures.permute(0, 3, 1, 2) if channels_last else pictures


def take(pictures: Tensor, rows: Tensor) -> Tensor:
    """Return the pictures of the given rows, in the order of bytes that the source has.

    `index_select` copies a picture as one block of bytes, where an advanced index copies value by value.
    """
    if not isinstance(pictures, Tensor):  # pictures that stay on disk
        return pictures[rows]
    channels_last = is_channels_last(pictures)
    return logical_order(memory_order(pictures).index_select(0, rows), channels_last)


def blocks(pictures: Tensor) -> Tensor:
    """View uint8 pictures, contiguous in memory order, as [N, words]: fewer and larger values to copy."""
    flat = memory_order(pictures).flatten(1)
    return flat.view(torch.int64) if flat.shape[1] % 8 == 0 and flat.storage_offset() % 8 == 0 else flat
