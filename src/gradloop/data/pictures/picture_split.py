"""Parts of a data set with every class in its share, drawn with a seed of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from gradloop.seeds import stream_seed


def draw_by_class(labels: Tensor, fraction: float, *, seed: int, stream: str, at_least: int, leave: int) -> Tensor:
    """Return a mask, bool [N], over a random share of each class.

    The total is N x fraction, rounded, and each class gets its own share to within one sample; then every
    class gives `at_least` and keeps `leave` samples as far as it has so many. labels: int64 [N].
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, stream))
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels)
    ends = counts.cumsum(0)
    wanted = (ends.double() * fraction).round().long().diff(prepend=torch.zeros(1, dtype=torch.long))
    wanted = wanted.clamp(min=at_least).minimum(counts - leave).clamp(min=0)
    sorted_labels = labels[by_class]
    place = torch.arange(len(labels)) - (ends - counts)[sorted_labels]  # 0, 1, 2 … inside each class
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[by_class[place < wanted[sorted_labels]]] = True
    return mask


def hold_out(labels: Tensor, rows: Tensor, fraction: float, *, seed: int, stream: str) -> tuple[Tensor, Tensor]:
    """Split rows into (kept, held out) with equal class shares; a class of one picture is kept.

    labels: int64 of all rows; rows: int64, ascending, as are both results.
    """
    held = draw_by_class(labels[rows], fraction, seed=seed, stream=stream, at_least=0, leave=1)
    return rows[~held], rows[held]


def class_balanced(labels: Tensor, rows: Tensor, fraction: float, *, seed: int) -> Tensor:
    """Return a share of the rows, at least one of each class."""
    return rows[draw_by_class(labels[rows], fraction, seed=seed, stream="subset", at_least=1, leave=0)]
