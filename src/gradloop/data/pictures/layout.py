"""How pictures lie in memory: [N, C, H, W] to every reader, either order of bytes underneath.

Channels-last pictures are as fast or faster in convolutions, and a row of a crop is one run of bytes. Code
that walks over memory asks for `memory_order` once and works on that.
"""

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


def pad(pictures: Tensor, padding: int, mode: str) -> Tensor:
    """Return [N, C, H + 2p, W + 2p] with the margin that `mode` describes (see `fill_margin`)."""
    count, channels, height, width = pictures.shape
    padded = torch.empty(
        (count, channels, height + 2 * padding, width + 2 * padding),
        dtype=pictures.dtype,
        device=pictures.device,
        memory_format=memory_format(is_channels_last(pictures)),
    )
    inside(padded, padding).copy_(pictures)
    fill_margin(padded, padding, mode)
    return padded


def inside(padded: Tensor, padding: int) -> Tensor:
    """Return the view of a padded tensor without its margin."""
    return padded[:, :, padding : padded.shape[2] - padding, padding : padded.shape[3] - padding]


def fill_margin(padded: Tensor, padding: int, mode: str) -> None:
    """Write the margin in place: the picture mirrored at its edge (reflect), its edge pixels, or black."""
    if padding == 0:
        return
    for dim in (3, 2):  # columns first: the rows then carry the corners along
        end = padded.shape[dim]
        low, high = padded.narrow(dim, 0, padding), padded.narrow(dim, end - padding, padding)
        if mode == "reflect":
            low.copy_(padded.narrow(dim, padding + 1, padding).flip(dim))
            high.copy_(padded.narrow(dim, end - 2 * padding - 1, padding).flip(dim))
        elif mode == "edge":
            low.copy_(padded.narrow(dim, padding, 1).expand_as(low))
            high.copy_(padded.narrow(dim, end - padding - 1, 1).expand_as(high))
        else:
            low.zero_()
            high.zero_()
