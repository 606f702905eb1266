"""From a table's columns to what a network is fed: plain data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gradloop.errors import DataError

MISSING, INFREQUENT = "(missing)", "(infrequent)"


@dataclass(frozen=True)
class NumberColumn:
    """`x' = (x - shift - center) / scale`, in float32 from `x - shift` on; `fill` where there is no x.

    shift: the median of the first values, so that float32 loses nothing of large numbers that lie close together.
    fill: as x - shift; None refuses a missing value.
    """

    name: str
    shift: float
    fill: float | None
    center: float
    scale: float

    @property
    def features(self) -> list[str]:
        return [self.name]

    def encode(self, shifted: np.ndarray, target: np.ndarray) -> None:
        """Write [N, 1] from x - shift, float32 [N] with NaN where there is none."""
        if self.fill is not None:
            shifted = np.where(np.isnan(shifted), np.float32(self.fill), shifted)
        target[:, 0] = (shifted - np.float32(self.center)) * np.float32(1 / self.scale)


def class_name(value: float) -> str:
    """Return a number as people write it: 0.1, and 3 for 3.0."""
    return f"{value:.17g}" if float(value).is_integer() else repr(float(value))


@dataclass(frozen=True)
class WordColumn:
    """One feature a word, 1 where it stands and else 0; one for what is missing, one for words that are rare or new.

    words: those with a feature of their own. Without `missing` or `infrequent` such a row is 0 everywhere.
    """

    name: str
    words: list[str]
    missing: bool
    infrequent: bool

    @property
    def features(self) -> list[str]:
        others = [word for word, there in ((MISSING, self.missing), (INFREQUENT, self.infrequent)) if there]
        return [f"{self.name}={word}" for word in [*self.words, *others]]

    def places(self, words: Sequence[str]) -> np.ndarray:
        """Return the feature of each of a file's words, and last that of a missing one; -1: none. int64."""
        known = {word: place for place, word in enumerate(self.words)}
        rare = len(self.features) - 1 if self.infrequent else -1
        return np.array([*(known.get(word, rare) for word in words), len(self.words) if self.missing else -1])

    def encode(self, places: np.ndarray, target: np.ndarray) -> None:
        """Write [N, features] from the feature of each row, int64 [N]."""
        target[:] = 0
        there = places >= 0
        target[np.nonzero(there)[0], places[there]] = 1


Column = NumberColumn | WordColumn


def as_plain(columns: Sequence[Column]) -> list[dict[str, Any]]:
    return [{"kind": "number" if isinstance(c, NumberColumn) else "word", **asdict(c)} for c in columns]


def from_plain(columns: Sequence[dict[str, Any]]) -> list[Column]:
    kinds: dict[str, Any] = {"number": NumberColumn, "word": WordColumn}
    return [kinds[each["kind"]](**{key: value for key, value in each.items() if key != "kind"}) for each in columns]


def check_finite(where: str, values: np.ndarray, row: int) -> None:
    """Raise DataError at a number that float32, in which a network computes, does not hold. row: of the first."""
    wrong = np.abs(values) > np.finfo(np.float32).max
    if wrong.any():
        place = int(wrong.argmax())
        told = "infinite" if np.isinf(values[place]) else f"{values[place]:.3g} is too large for float32"
        raise DataError(f"{where}, row {row + place}: {told}")


def check_missing(column: str, gaps: np.ndarray, first_row: int) -> None:
    """Raise `DataError` where a value is missing and none may be. gaps: bool [N]; first_row: number of its first."""
    if gaps.any():
        row = first_row + int(gaps.argmax())
        raise DataError(f"data: column '{column}' has no value in row {row}; data.missing=median fills such")
