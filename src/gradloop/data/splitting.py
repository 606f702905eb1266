"""Splitting data into training, validation and test parts, with every class in its share."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradloop.errors import ConfigError
from gradloop.seeds import stream_seed


def split_table(
    size: int,
    *,
    test_fraction: float,
    val_fraction: float,
    random_state: int,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
    folds: int | None = None,
    fold: int | None = None,
) -> dict[str, np.ndarray]:
    """Return the rows of the parts, drawn as scikit-learn's `train_test_split` draws them: test first.

    labels: keep their shares equal in every part (stratify); None draws without looking at them.
    groups: no group is in two parts; fractions are of the groups. times: test is the latest rows, validation those
        before them; rows of one time stay together.
    folds, fold: the test part is that fold of so many (`fold_rows`); of times, training lies before it.
    """
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    def draw(rows: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        if times is not None:
            since = np.sort(times[rows])[-max(1, round(fraction * len(rows)))]
            if not (earlier := times[rows] < since).any():
                raise ValueError(
                    f"{len(np.unique(times[rows]))} different times are too few: none is left to train on"
                )
            return rows[earlier], rows[~earlier]
        if groups is not None:
            splitter = GroupShuffleSplit(1, test_size=fraction, random_state=random_state)
            kept, held = next(splitter.split(rows, groups=groups[rows]))
            return rows[kept], rows[held]
        strata = None if labels is None else labels[rows]
        return train_test_split(rows, test_size=fraction, random_state=random_state, stratify=strata)

    try:
        if folds is None or fold is None:
            train, test = draw(np.arange(size), test_fraction)
        else:
            train, test = fold_rows(size, folds, fold, seed=random_state, labels=labels, groups=groups, times=times)
        parts = {"train": train, "test": test}
        if val_fraction:
            parts["train"], parts["val"] = draw(train, val_fraction)
    except ValueError as error:
        asked = f"data.test_fraction={test_fraction}" if folds is None else f"folds={folds}"
        raise ConfigError(
            f"{asked}, data.val_fraction={val_fraction}: {size} samples can't be split so ({error})"
        ) from error
    return parts


def fold_rows(
    size: int,
    folds: int,
    fold: int,
    *,
    seed: int,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (the other rows, the fold's rows), both ascending but for times: every row is in one fold of `folds`.

    The classes' shares are equal in every fold if there are labels; a group lies in one fold. Times are cut into
    folds + 1 stretches of equally many different ones, of which fold k is the (k + 1)-th and has those before it to
    learn from (`TimeSeriesSplit`).
    """
    from sklearn import model_selection as sklearn

    rows = np.arange(size)
    drawn = {"n_splits": folds, "shuffle": True, "random_state": seed}
    splitter: Any
    if times is not None:
        order, (distinct, which) = np.argsort(times, kind="stable"), np.unique(times, return_inverse=True)
        parts = list(sklearn.TimeSeriesSplit(folds).split(distinct))[fold]
        kept, held = (order[np.isin(which[order], part)] for part in parts)
        return kept, held
    if labels is not None:
        labels = np.unique(labels, return_inverse=True)[1]  # scikit-learn takes fractions for no classes
    if groups is not None:
        splitter = (sklearn.GroupKFold if labels is None else sklearn.StratifiedGroupKFold)(**drawn)
    else:
        splitter = (sklearn.KFold if labels is None else sklearn.StratifiedKFold)(**drawn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is in fewer samples than folds
        kept, held = list(splitter.split(rows, labels, groups))[fold]
    return rows[kept], rows[held]


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


def fold_out(labels: Tensor, rows: Tensor, folds: int, fold: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Split rows (int64, ascending, as are both results) into (the others, those of one fold of `folds`)."""
    kept, held = fold_rows(len(rows), folds, fold, seed=seed, labels=labels[rows].numpy())
    return rows[torch.from_numpy(kept)], rows[torch.from_numpy(held)]


def hold_out(labels: Tensor, rows: Tensor, fraction: float, *, seed: int, stream: str) -> tuple[Tensor, Tensor]:
    """Split rows into (kept, held out) with equal class shares; a class of one picture is kept.

    labels: int64 of all rows; rows: int64, ascending, as are both results.
    """
    held = draw_by_class(labels[rows], fraction, seed=seed, stream=stream, at_least=0, leave=1)
    return rows[~held], rows[held]


def class_balanced(labels: Tensor, rows: Tensor, fraction: float, *, seed: int) -> Tensor:
    """Return a share of the rows, at least one of each class."""
    return rows[draw_by_class(labels[rows], fraction, seed=seed, stream="subset", at_least=1, leave=0)]
