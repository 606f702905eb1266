"""Splitting a table's rows into training, validation and test parts."""

from __future__ import annotations

import numpy as np

from gradloop.errors import ConfigError


def held_out(key: str, fraction: float) -> None:
    """Refuse a held-out fraction outside (0, 1)."""
    if not 0 < fraction < 1:
        raise ConfigError(f"data.{key}={fraction}: expected 0 < {key} < 1")


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
