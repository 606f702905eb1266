"""Splitting data into training, validation and test parts, with every class in its share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradloop.errors import ConfigError
from gradloop.seeds import stream_seed


def split_table(
    size: int, *, test_fraction: float, val_fraction: float, random_state: int, labels: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the rows of the parts, drawn as scikit-learn's `train_test_split` draws them: test first.

    labels: keep their shares equal in every part (stratify); None draws without looking at them.
    """
    from sklearn.model_selection import train_test_split

    def draw(rows: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        strata = None if labels is None else labels[rows]
        return train_test_split(rows, test_size=fraction, random_state=random_state, stratify=strata)

    try:
        train, test = draw(np.arange(size), test_fraction)
        parts = {"train": train, "test": test}
        if val_fraction:
            parts["train"], parts["val"] = draw(train, val_fraction)
    except ValueError as error:
        raise ConfigError(
            f"data.test_fraction={test_fraction}, data.val_fraction={val_fraction}: "
            f"{size} samples can't be split so ({error})"
        ) from error
    return parts


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
