"""Rows of a table: their names, what a network is fed of them, and those of another file than a run's own."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradloop.data.tables.columns import (
    Column,
    NumberColumn,
    WordColumn,
    check_finite,
    check_missing,
    class_name,
    from_plain,
)
from gradloop.data.tables.table_file import TableFile
from gradloop.errors import DataError
from gradloop.runs.foreign_text import is_number, printable

FEW = 20  # different whole numbers that are taken for classes, at most
Chunk = tuple[np.ndarray, np.ndarray]  # float32 [n, numbers] and int32 [n, words] of some rows


class RowNames(Sequence[str]):
    """Names of some of a file's rows, made when they are asked for: by a column, or numbers from 1 on."""

    def __init__(self, rows: np.ndarray, names: np.ndarray | None, words: list[str] | None) -> None:
        self.rows, self.names, self.words = rows, names, words

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return RowNames(self.rows[place], self.names, self.words)
        row = int(self.rows[place])
        if self.names is None:
            return str(row + 1)
        name = self.names[row]
        if self.words is None:
            return f"{name:.17g}"
        return self.words[name] if name >= 0 else ""  # it has none


def as_days(seconds: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return what RowNames takes of times: 2024-12-31, or 2024-12-31T12:00:00 where not all are midnights."""
    found, places = np.unique(seconds, return_inverse=True)
    unit = "D" if (found % 86_400 == 0).all() else "s" if (found % 1 == 0).all() else "us"
    return places, np.round(found * 1e6).astype("datetime64[us]").astype(f"datetime64[{unit}]").astype(str).tolist()


def encode(columns: Sequence[Column], places: Sequence[np.ndarray | None], *chunk: np.ndarray) -> np.ndarray:
    """Return float32 [n, features] of a chunk. places: of each column of words, `WordColumn.places`."""
    widths = [len(column.features) for column in columns]
    encoded = np.empty((len(chunk[0]), sum(widths)), dtype=np.float32)
    numbers, codes = (iter(each.T) for each in chunk)
    start = 0
    for column, width, place in zip(columns, widths, places, strict=True):
        target = encoded[:, start : start + width]
        if isinstance(column, NumberColumn):
            column.encode(next(numbers), target)
        else:
            assert place is not None
            column.encode(place[next(codes)], target)  # -1, missing, takes the last
        start += width
    return encoded


def targets_of(values: np.ndarray, classes: Sequence[Any] | None, *, binary: bool) -> torch.Tensor:
    """Return a column of targets as a split holds it. classes: its values in the order of their labels, if any."""
    if classes is None:
        return torch.from_numpy(values).float().unsqueeze(1)
    order = np.argsort(np.array(classes), kind="stable")
    labels = torch.from_numpy(order[np.searchsorted(np.array(classes)[order], values)])
    return labels.float().unsqueeze(1) if binary else labels.long()


def classes_of(values: np.ndarray, words: list[str] | None, asked: str, where: str, target: str) -> list[Any] | None:
    """Return a target's values in order if they are classes, None for a regression. asked: `data.task`."""
    found = np.unique(values)
    if asked == "regression":
        if words is not None:
            word = next(word for word in words if not is_number(word))
            raise DataError(f"{where}data.task=regression: column '{target}': '{word}' is no number")
        check_precision(where, target, values)
        return None
    whole_numbers = words is None and bool((found == np.round(found)).all())
    if asked == "auto" and words is None and not (whole_numbers and len(found) <= FEW):
        check_precision(where, target, values)
        return None
    if len(found) > max(FEW, len(values) / 2):
        odd = [word for word in words or () if not is_number(word)]
        as_numbers = f"; are they numbers? '{odd[0]}' is none" if odd and len(odd) <= len(found) / 2 else ""
        hint = as_numbers or "; is it a name? for numbers, data.task=regression"
        raise DataError(f"{where}data.target={target} has {len(found)} different values{hint}")
    if len(found) < 2 or (asked == "binary" and len(found) > 2):
        expected = "two" if asked == "binary" else "two or more"
        raise DataError(f"{where}data.target={target} has {len(found)} classes; expected {expected}")
    return sorted(found.tolist(), key=lambda value: value if words is None else words[value])


def check_precision(where: str, target: str, values: np.ndarray) -> None:
    """Raise DataError for values [N] to regress on of which float32 would keep too little: it has 24 bits."""
    values = values[~np.isnan(values)]
    if len(values) and values.min() == values.max():
        raise DataError(f"{where}data.target={target}: every row has {values[0]:g}; there is nothing to predict")
    lost = np.abs(values - values.astype(np.float32)).max(initial=0.0)
    if lost > 1e-3 * values.std() > 0:
        raise DataError(
            f"{where}data.target={target}: {values.mean():.9g} ± {values.std():.3g} has more digits than the "
            "32-bit numbers of a network; subtract the mean, say, from the column"
        )


def read_known(file: TableFile, columns: Sequence[Column]) -> list[Chunk]:
    """Return a file's rows as columns that are known take them, in chunks of float32 and int32."""
    chunks: list[Chunk] = []
    row = 1
    for block in file.blocks([column.name for column in columns]):
        numbers, codes = _chunk(columns, block, row)
        chunks.append((numbers, codes))
        row += len(numbers)
    return chunks


def read_new(path: str | Path, preprocessing: dict[str, Any], facts: dict[str, Any]) -> tuple[list[str], Any, Any]:
    """Read another table as a run's own: row names, inputs float32 [N, features], and targets or None.

    Its columns are found by their names, in any order, and others are passed over. Targets are there if the file has
    that column.
    """
    table, columns = preprocessing["table"], from_plain(preprocessing["columns"])
    kinds = {column.name: "number" if isinstance(column, NumberColumn) else "word" for column in columns}
    target, name = table["target"], table["id"]
    named = {} if name is None else {name: "word"}
    given = named | kinds | {target: "word" if facts["class_names"] else "number"}
    file = TableFile(path, delimiter=table["delimiter"], kinds=given)
    file.find("", list(kinds))
    others = [each for each in (target, name) if each in file.names]
    inputs, known = [], []
    row = 1
    for block in file.blocks([*kinds, *others]):
        known.append({each: block[each] for each in others})
        chunk = _chunk(columns, block, row)
        places = [None if isinstance(c, NumberColumn) else c.places(_as_seen(c, file)) for c in columns]
        inputs.append(encode(columns, places, *chunk))
        row += len(inputs[-1])
    if not inputs:
        raise DataError(f"{path}: no row below the columns' names")
    for column in columns:
        if not isinstance(column, NumberColumn):
            _tell_new_words(path, column, _as_seen(column, file))
    rows = np.arange(row - 1)
    columns_of = {each: np.concatenate([block[each] for block in known]) for each in others}
    names = list(RowNames(rows, columns_of.get(name), file.words.get(name)))
    targets = None if target not in others else _known_targets(str(path), target, columns_of[target], file, facts)
    return names, torch.from_numpy(np.concatenate(inputs)), targets


def _tell_new_words(path: str | Path, column: WordColumn, words: Sequence[str]) -> None:
    """Print which words of a new table have no feature of their own, if any."""
    if new := [word for word in words if word not in column.words]:
        more = f" and {len(new) - 1} more" if len(new) > 1 else ""
        how = "a rare word" if column.infrequent else "none of those that the run has seen"
        print(printable(f"{path}: column '{column.name}': '{new[0]}'{more} is read as {how}"))


def _chunk(columns: Sequence[Column], block: dict[str, np.ndarray], row: int) -> Iterator[np.ndarray]:
    for column in columns:
        if isinstance(column, NumberColumn):
            check_finite(f"column '{column.name}'", block[column.name], row)
            if column.fill is None:
                check_missing(column.name, gaps_in(block[column.name]), row)
    numbers = [block[c.name] - c.shift for c in columns if isinstance(c, NumberColumn)]
    codes = [block[c.name] for c in columns if not isinstance(c, NumberColumn)]
    count = len(next(iter(block.values())))
    for values, kind in ((numbers, np.float32), (codes, np.int32)):
        yield np.stack(values, 1).astype(kind) if values else np.empty((count, 0), dtype=kind)


def _known_targets(path: str, target: str, values: np.ndarray, file: TableFile, facts: dict[str, Any]) -> Any:
    if gaps := int(gaps_in(values).sum()):
        if gaps < len(values):
            print(printable(f"{path}: no value of '{target}' in {gaps} of {len(values)} rows: nothing is measured"))
        return None
    if not facts["class_names"]:
        return torch.from_numpy(values).float().unsqueeze(1)
    classes = {name: label for label, name in enumerate(facts["class_names"])}
    words = [next((text for text in names_of(word) if text in classes), word) for word in file.words[target]]
    unknown = [word for word in words if word not in classes]
    if unknown:
        expected = ", ".join(list(classes)[:8])
        raise DataError(f"{path}: column '{target}': '{unknown[0]}' is no class of the run's; expected {expected}")
    labels = torch.tensor([classes[word] for word in words])[torch.from_numpy(values).long()]
    return labels.float().unsqueeze(1) if facts["task"] == "binary" else labels


def names_of(word: str) -> list[str]:
    """Return what a class of that word may be called: where it is a number, as it is written now, or was before."""
    return [word, class_name(float(word)), f"{float(word):.17g}"] if is_number(word) else [word]


def _as_seen(column: WordColumn, file: TableFile) -> list[str]:
    """Return a new table's words of a column, written as the run's are where those are numbers."""
    return [word if word in column.words else _as_number(word) for word in file.words[column.name]]


def _as_number(word: str) -> str:
    """Write a word that is a number as the run does: 1.0 is 1, as written where a column has a gap; 01 is not."""
    return f"{float(word):.17g}" if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", word) else word


def gaps_in(values: np.ndarray) -> np.ndarray:
    return values < 0 if values.dtype == np.int32 else np.isnan(values)
