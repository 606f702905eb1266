"""A table of one's own: `data=csv data.file=… data.target=…`."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradloop.data.batches import Split
from gradloop.data.data_module import DataModule
from gradloop.data.knobs import check
from gradloop.data.pictures.picture_store import release_memory
from gradloop.data.splitting import split_table
from gradloop.data.tables.columns import Column, NumberColumn, as_plain, class_name, from_plain
from gradloop.data.tables.learning import learn, real_values
from gradloop.data.tables.rows import Chunk, RowNames, as_days, classes_of, encode, gaps_in, read_known, targets_of
from gradloop.data.tables.table_file import TableFile
from gradloop.errors import ConfigError, DataError
from gradloop.process import is_second


class Table(DataModule):
    """Rows of a CSV or Parquet file; inputs are float32 [N, features], learned on the training part alone.

    file: its path; delimiter: of a CSV. Empty cells, NA, NaN, null and the like are missing values.
    target: the column to predict. task: `auto` takes words, and whole numbers of at most 20 kinds, for classes (two
        kinds: binary), other numbers for a regression, and says so.
    columns: what to predict from; null: all but target, id, group, time and those of `drop`.
    categories: columns of numbers that are words (a postcode). id: a column that names the rows.
    group: rows of one group lie in one part. time: the test part is the latest rows, validation those before.
    stratify: equal shares of the classes in all parts, where there are classes and no time; by group in folds alone.
    missing: of numbers: `median` | `mean` | `most_frequent` of the training part, or `refuse`.
    scaler: of numbers: `standard` | `minmax` | `robust` | `none`. max_categories: features of a column of words.

    The file is read in blocks of rows, twice: for target, groups and times, which decide where a row goes, and for
    the inputs. Memory holds the inputs once, as they are moved from what is read to their parts.
    """

    seeded_rows = False

    def __init__(
        self,
        *,
        file: str,
        target: str,
        task: str,
        columns: Sequence[str] | None,
        drop: Sequence[str],
        categories: Sequence[str],
        id: str | None,
        group: str | None,
        time: str | None,
        delimiter: str,
        stratify: bool,
        missing: str,
        scaler: str,
        max_categories: int,
        test_fraction: float,
        val_fraction: float,
        random_state: int,
        **knobs: Any,
    ) -> None:
        super().__init__(**knobs)
        self.file, self.target, self.delimiter = str(file), str(target), delimiter
        self.asked, self.missing, self.scaler, self.max_categories = task, missing, scaler, max_categories
        self.columns = None if columns is None else [str(name) for name in columns]
        self.drop, self.categories = [str(name) for name in drop], [str(name) for name in categories]
        self.roles = {r: None if n is None else str(n) for r, n in (("id", id), ("group", group), ("time", time))}
        if group is not None and time is not None:
            raise ConfigError("data.group and data.time: a split goes by one of them; leave the other null")
        if self.target == self.roles["group"]:
            raise ConfigError(f"data.group={group}: is data.target, too; no class of one part would be in another")
        if twice := [name for name in self.columns or () if (self.columns or []).count(name) > 1]:
            raise ConfigError(f"data.columns: names {twice[0]} twice")
        self.stratify, self.random_state = stratify, random_state
        self.test_fraction, self.val_fraction = test_fraction, val_fraction
        check("data", "Table", task=task, missing=missing, scaler=scaler, max_categories=max_categories,
              test_fraction=test_fraction, val_fraction=val_fraction)  # fmt: skip
        self.taken: list[Column] | None = None  # of a run that goes on, or is measured

    def check(self) -> None:
        assert self.inputs  # finds the columns

    @cached_property
    def found(self) -> TableFile:
        kinds = dict.fromkeys(self.categories, "word")
        kinds |= {c.name: "number" if isinstance(c, NumberColumn) else "word" for c in self.taken or ()}
        name = self.roles["id"]
        if name is not None and name not in (self.target, self.roles["time"]):
            kinds[name] = "word"  # 007 is not 7, and float64 holds no number of 19 digits
        found = TableFile(self.file, delimiter=self.delimiter, kinds=kinds)
        found.find("data.target: ", [self.target])
        for role, name in self.roles.items():
            found.find(f"data.{role}: ", [] if name is None else [name])
        for key in ("columns", "drop", "categories"):
            found.find(f"data.{key}: ", getattr(self, key) or [])
        found.find("the run was trained on it: ", [column.name for column in self.taken or ()])
        return found

    def take_over(self, preprocessing: dict[str, Any]) -> None:
        """The columns as the run's training part showed them: another file, or this one since changed, is read so."""
        if preprocessing.get("columns"):
            self.taken = from_plain(preprocessing["columns"])

    @cached_property
    def inputs(self) -> list[str]:
        """The columns to predict from."""
        if self.taken is not None:
            return [column.name for column in self.taken]
        others = {self.target, *self.roles.values(), *self.drop}
        if self.columns is not None and (twice := [name for name in self.columns if name in self.drop]):
            raise ConfigError(f"data.drop=[{twice[0]}]: data.columns names it, too")
        inputs = [name for name in self.found.names if name not in others] if self.columns is None else self.columns
        if missing := [name for name in self.categories if name not in (*inputs, self.target, *self.roles.values())]:
            raise ConfigError(f"data.categories=[{missing[0]}]: none of the columns to predict from")
        if self.target in inputs:
            raise ConfigError(f"data.columns: holds data.target={self.target}, which is what to predict")
        if day := next((name for name in inputs if self.found.kinds[name] == "time"), None):
            raise DataError(f"{self.file}: column '{day}' holds dates; data.time={day}, or data.drop=[{day}]")
        if not inputs:
            raise DataError(f"{self.file}: no column to predict '{self.target}' from")
        return inputs

    @cached_property
    def known(self) -> dict[str, np.ndarray]:
        """Target, id, group and time of all rows."""
        names = list(dict.fromkeys([self.target, *(name for name in self.roles.values() if name is not None)]))
        blocks = list(self.found.blocks(names))
        if not blocks:
            raise DataError(f"{self.file}: no row below the columns' names")
        known = {name: np.concatenate([block[name] for block in blocks]) for name in names}
        for role, name in (("target", self.target), ("time", self.roles["time"]), ("group", self.roles["group"])):
            if name is not None and (gaps := gaps_in(known[name])).any():
                rows = f"{int(gaps.sum())} of {len(gaps)} rows (the first is row {int(gaps.argmax()) + 1})"
                raise DataError(f"{self.file}: data.{role}={name}: no value in {rows}")
        time = self.roles["time"]
        if time is not None and self.found.kinds[time] == "word":
            raise DataError(f"{self.file}: data.time={time}: expected numbers or dates as in 2024-12-31, found words")
        return known

    @cached_property
    def classes(self) -> list[Any] | None:
        """The target's values in order if they are classes, None for a regression."""
        if self.found.kinds[self.target] == "time":
            raise DataError(f"{self.file}: data.target={self.target}: holds dates; expected classes or numbers")
        words = self.found.words.get(self.target)
        return classes_of(self.known[self.target], words, self.asked, f"{self.file}: ", self.target)

    @cached_property
    def task(self) -> str:  # type: ignore[override]
        if self.classes is None:
            return "regression"
        return self.asked if self.asked != "auto" else "binary" if len(self.classes) == 2 else "multiclass"

    @cached_property
    def class_names(self) -> tuple[str, ...] | None:  # type: ignore[override]
        words = self.found.words.get(self.target)
        named = (words[value] if words else class_name(value) for value in self.classes or ())
        return None if self.classes is None else tuple(named)

    @property
    def num_outputs(self) -> int:  # type: ignore[override]
        return len(self.classes) if self.classes is not None and self.task == "multiclass" else 1

    @property
    def input_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(feature for column in self.learned[0] for feature in column.features)

    @property
    def input_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (len(self.input_names),)

    @cached_property
    def parts(self) -> dict[str, np.ndarray]:
        """The rows of each part."""
        known, group, time = self.known, self.roles["group"], self.roles["time"]
        parts = split_table(
            len(known[self.target]),
            test_fraction=self.test_fraction,
            val_fraction=self.val_fraction,
            random_state=self.random_state,
            labels=known[self.target] if self.stratify and self.classes is not None else None,
            groups=None if group is None else known[group],
            times=None if time is None else known[time],
            folds=self.folds,
            fold=self.fold,
        )
        return {name: np.sort(rows) for name, rows in parts.items()}  # as they are read: memory fills from its start

    @cached_property
    def learned(self) -> tuple[list[Column], list[Chunk]]:
        """What the training part says of each column, and what was read, which `load` uses up."""
        knobs: dict[str, Any] = {"missing": self.missing, "scaler": self.scaler, "most": self.max_categories}
        if self.taken is not None:
            return self.taken, read_known(self.found, self.taken)
        return learn(self.found, self.inputs, lambda: self.parts["train"], **knobs)

    def load(self) -> dict[str, Split]:
        columns, chunks = self.learned
        known, features = self.known, len(self.input_names)
        where = np.full((len(known[self.target]), 2), -1, dtype=np.int32)  # of each row: its part, its place there
        for index, rows in enumerate(self.parts.values()):
            where[rows, 0], where[rows, 1] = index, np.arange(len(rows))
        inputs = [np.empty((len(rows), features), dtype=np.float32) for rows in self.parts.values()]
        places = [None if isinstance(c, NumberColumn) else c.places(self.found.words[c.name]) for c in columns]
        start = 0
        chunks.reverse()
        while chunks:  # each is freed when its rows are where they belong
            encoded = encode(columns, places, *chunks.pop())
            here = where[start : start + len(encoded)]
            for index, target in enumerate(inputs):
                mine = here[:, 0] == index
                target[here[mine, 1]] = encoded[mine]
            start += len(encoded)
            if len(chunks) % 16 == 0:
                release_memory()
        named = self.roles["id"]
        names, words = (None, None) if named is None else (known[named], self.found.words.get(named))
        if named is not None and self.found.kinds[named] == "time":
            names, words = as_days(known[named])
        targets = targets_of(known[self.target], self.classes, binary=self.task == "binary")
        return {
            name: Split(torch.from_numpy(inputs[index]), targets[rows], RowNames(rows, names, words))
            for index, (name, rows) in enumerate(self.parts.items())
        }

    def setup(self, stage: str | None = None) -> None:
        first = not self.splits
        super().setup(stage)
        if first and stage == "fit" and not is_second():
            print(self._said())
            self.found.tell_odd_words([*self.categories, self.target, *self.roles.values()])

    def _said(self) -> str:
        numbers = sum(isinstance(column, NumberColumn) for column in self.learned[0])
        values = self.known[self.target]
        what = real_values(values[self.parts["train"]]) if self.classes is None else f"{len(self.classes)} classes"
        return (
            f"data: {Path(self.file).name}: {len(values):,} rows; '{self.target}' holds {what}: "
            f"task {self.task}; from {numbers} columns of numbers and {len(self.inputs) - numbers} of words, "
            f"{len(self.input_names)} features"
        )

    def preprocessing(self) -> dict[str, Any]:
        table = {"target": self.target, "id": self.roles["id"], "delimiter": self.delimiter}
        return super().preprocessing() | {"table": table, "columns": as_plain(self.learned[0])}
