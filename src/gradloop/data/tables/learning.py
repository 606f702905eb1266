"""What the training part of a table says of its columns, learned with scikit-learn while the file is read."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from gradloop.data.tables.columns import Column, NumberColumn, WordColumn, check_finite, check_missing
from gradloop.data.tables.rows import Chunk, gaps_in
from gradloop.data.tables.table_file import TableFile
from gradloop.errors import DataError

NO_VALUE = "data: column '{0}' has no value in the training part; leave it out with data.drop=[{0}]"


def learn(
    file: TableFile, inputs: Sequence[str], train: Callable[[], np.ndarray], *, missing: str, scaler: str, most: int
) -> tuple[list[Column], list[Chunk]]:
    """Return the columns of the inputs, as the rows `train()` show them, and all that was read.

    train: asked for when all is read. missing, scaler: as of `learn_number`. most: as of `learn_words`.
    """
    numbers, words = ([name for name in inputs if file.kinds[name] == kind] for kind in ("number", "word"))
    chunks: list[Chunk] = []
    shifts: dict[str, float] = {}
    row = 1
    for block in file.blocks(inputs):
        for name in numbers:
            check_finite(f"{file.path}: column '{name}'", block[name], row)
            if name not in shifts and scaler != "none" and not np.isnan(block[name]).all():
                shifts[name] = float(np.nanmedian(block[name]))  # no outlier moves it
        for name in inputs if missing == "refuse" else ():
            check_missing(name, gaps_in(block[name]), row)
        count = len(next(iter(block.values())))
        shifted, codes = np.empty((count, len(numbers)), np.float32), np.empty((count, len(words)), np.int32)
        for place, name in enumerate(numbers):
            shifted[:, place] = block[name] - shifts.get(name, 0.0)
        for place, name in enumerate(words):
            codes[:, place] = block[name]
        chunks.append((shifted, codes))
        row += count
    seen = np.zeros(row - 1, dtype=bool)
    seen[train()] = True
    columns: dict[str, Column] = {}
    for place, name in enumerate(numbers):
        values = np.concatenate([chunk[:, place] for chunk, _ in chunks])[seen]
        columns[name] = learn_number(name, shifts.get(name, 0.0), values, missing=missing, scaler=scaler)
    for place, name in enumerate(words):
        values = np.concatenate([chunk[:, place] for _, chunk in chunks])[seen]
        columns[name] = learn_words(name, file.words[name], values, most=most, missing=missing)
    return [columns[name] for name in inputs], chunks


def learn_number(name: str, shift: float, shifted: np.ndarray, *, missing: str, scaler: str) -> NumberColumn:
    """Learn from the training part's x - shift, float32 [N].

    missing: `median`, `mean` or `most_frequent` of the values that are there (`SimpleImputer`), or `refuse`.
    scaler: `standard`, `minmax`, `robust` (scikit-learn's of these names) or `none`.
    """
    from sklearn import preprocessing
    from sklearn.impute import SimpleImputer

    values = shifted.astype(np.float64)[:, None]
    gaps = np.isnan(values)
    if gaps.all():
        raise DataError(NO_VALUE.format(name))
    fill = None
    if missing != "refuse":
        fill = float(SimpleImputer(strategy=missing).fit(values).statistics_[0])
        values[gaps] = fill
    if scaler == "none":
        return NumberColumn(name, shift, fill, -shift, 1.0)
    if scaler == "standard":
        standard = preprocessing.StandardScaler().fit(values)
        return NumberColumn(name, shift, fill, float(standard.mean_[0]), float(standard.scale_[0]))
    if scaler == "minmax":
        span = preprocessing.MinMaxScaler().fit(values)
        return NumberColumn(name, shift, fill, float(span.data_min_[0]), float(1 / span.scale_[0]))
    robust = preprocessing.RobustScaler().fit(values)
    return NumberColumn(name, shift, fill, float(robust.center_[0]), float(robust.scale_[0]))


def learn_words(name: str, words: Sequence[str], codes: np.ndarray, *, most: int, missing: str) -> WordColumn:
    """Learn from the training part's words as their numbers, int32 [N] with -1 for none.

    most: features of a column; more words than that leave their rarest to one feature (`OneHotEncoder`).
    """
    from sklearn.preprocessing import OneHotEncoder

    there = codes[codes >= 0][:, None]
    if not len(there):
        raise DataError(NO_VALUE.format(name))
    encoder = OneHotEncoder(max_categories=most, handle_unknown="infrequent_if_exist").fit(there)
    rare = encoder.infrequent_categories_[0]
    kept = [words[code] for code in encoder.categories_[0] if rare is None or code not in rare]
    return WordColumn(name, sorted(kept), missing != "refuse" and bool((codes < 0).any()), rare is not None)


FAR = 100.0  # of a target to regress on: from here on a network takes long to get there


def real_values(values: np.ndarray) -> str:
    """Say what a regression's target holds. It is not scaled, so that loss, metrics and predictions keep its unit."""
    mean, deviation = float(values.mean()), float(values.std())
    if max(abs(mean), deviation) < FAR:
        return "real values"
    power = 10 ** math.floor(math.log10(max(abs(mean), deviation)))
    far = f"not scaled, and a network begins near 0: divided by {power:,}, say, they are learned sooner"
    return f"real values ({mean:.3g} ± {deviation:.3g}, {far})"
