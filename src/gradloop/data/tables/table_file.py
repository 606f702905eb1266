"""CSV and Parquet files, a block of rows at a time: the whole file is never in memory."""

import codecs
import io
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradloop.errors import ConfigError, DataError, did_you_mean
from gradloop.runs.foreign_text import is_number, printable

HEAD = 8 * 2**20  # bytes of a CSV that decide what its columns hold
BLOCK = 2**19  # bytes of a CSV that are parsed at a time; Arrow reads some 30 blocks ahead
NUMBERS = r"[-+]?\d[\d.,' ]*%?"  # in other notations than 1234.5
SLIPS = 0.1  # share of a column's words that may have been meant as numbers
ROWS = 65_536  # of a Parquet file
PARQUET = (".parquet", ".pq")
Block = dict[str, np.ndarray]
MARKS = {";": "'data.delimiter=\";\"'", "\t": "data.delimiter=tab", "|": "'data.delimiter=\"|\"'"}
INDEX = r"__index_level_\d+__"  # pandas' numbers of rows, in a Parquet
BAD_VALUE = r"column #(\d+):(?: Row #(\d+):)? CSV conversion error to \w+.*?invalid value (.*)"  # Arrow's words


class TableFile:
    """The columns of one file. Words are numbered in the order in which they are met: `words[column]`.

    kinds: column -> "number", "word" (text, true and false) or "time" (dates); what isn't given is seen from the
        first rows. A number is float64 and NaN where there is none, a word int32 and -1, a time float64 seconds.
    """

    def __init__(self, path: str | Path, *, delimiter: str, kinds: Mapping[str, str] | None = None) -> None:
        try:
            import pyarrow
            from pyarrow import csv
        except ImportError as error:
            raise ConfigError("data=csv needs pyarrow: pip install 'gradloop[tables]'") from error
        self.path, self.delimiter = Path(os.path.expanduser(path)), delimiter
        self.arrow, self.csv = pyarrow, csv
        self.parsing = {"delimiter": "\t" if delimiter == "tab" else delimiter, "newlines_in_values": True}
        self.missing = frozenset(csv.ConvertOptions().null_values)  # in a Parquet's text, too
        self.is_parquet = self.path.suffix.lower() in PARQUET
        if not self.path.is_file():
            what = "no file" if self.path.exists() else "no such file"
            raise DataError(f"data.file={path}: {what}; expected a CSV or Parquet")
        self.columns: list[str] = []  # of the file, in order
        found = self._read(lambda: [(field.name, field.type) for field in self._schema()])
        self.columns = [name.strip() for name, _ in found]
        # pandas writes its numbers of rows without a name, and so ends a line of a comma too much
        self.types = {name: kind for name, kind in found if name.strip() and not re.fullmatch(INDEX, name)}
        self.names = [name.strip() for name, _ in found if name in self.types]
        if twice := next((name for name in self.names if self.names.count(name) > 1), None):
            raise DataError(f"{path}: two columns are called '{twice}'")
        given = dict(kinds or {})
        self.given = frozenset(given)
        self.kinds = {name.strip(): given.get(name.strip()) or self._kind(kind) for name, kind in self.types.items()}
        self.words: dict[str, list[str]] = {name: [] for name, kind in self.kinds.items() if kind == "word"}
        self._numbers: dict[str, dict[str, int]] = {name: {} for name in self.words}

    def find(self, key: str, names: Sequence[str]) -> None:
        """Raise `DataError` if the file lacks one of the columns. key: who asks for them, for the message."""
        for name in names:
            if name not in self.names:
                near = did_you_mean(name, self.names)
                if len(self.names) == 1 and not near:
                    near = f"; there is only '{self.names[0]}': is data.delimiter={self.delimiter} right?"
                    if other := next((known for mark, known in MARKS.items() if mark in self.names[0]), None):
                        near += f" (or {other})"
                some = self.names if len(self.names) <= 12 else [*self.names[:8], "…", *self.names[-2:]]
                raise DataError(f"{self.path}: {key}no column '{name}'{near or '; there are ' + ', '.join(some)}")

    def tell_odd_words(self, besides: Collection[str | None]) -> None:
        """Print which word keeps a column from being one of numbers, where nearly all of it are, or look so."""
        for name, words in self.words.items():
            odd = [word for word in words if not is_number(word)]
            alike = sum(bool(re.fullmatch(NUMBERS, word)) for word in words)
            if odd and max(len(words) - len(odd), alike) >= (1 - SLIPS) * len(words) and name not in besides:
                hint = f"mend it, or data.categories=[{name}] if it is meant so"
                line = f"{self.path}: column '{name}' is read as words: '{odd[0]}' is no number; {hint}"
                print(printable(line))

    def _kind(self, kind: Any) -> str:
        types = self.arrow.types
        if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind):
            return "number"
        return "time" if types.is_date(kind) or types.is_timestamp(kind) else "word"

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """Yield those columns of all rows, in order."""
        arrow = self.arrow
        wanted = {name: name.strip() for name in self.types if name.strip() in columns}
        as_read = {"number": arrow.float64(), "word": arrow.string()}
        types = {name: as_read.get(self.kinds[plain], self.types[name]) for name, plain in wanted.items()}
        opened = iter(self._read(lambda: self._open(list(wanted), types)))
        while (batch := self._read(lambda: next(opened, None))) is not None:
            read = {plain: batch.column(batch.schema.get_field_index(name)) for name, plain in wanted.items()}
            if len(batch):
                yield {name: self._read(lambda n=name, v=values: self._plain(n, v)) for name, values in read.items()}

    def _plain(self, name: str, values: Any) -> np.ndarray:
        arrow, kind = self.arrow, self.kinds[name]
        if kind == "time":
            times = values.cast(arrow.timestamp("us"), safe=False).cast(arrow.int64())
            return times.cast(arrow.float64(), safe=False).to_numpy(zero_copy_only=False) / 1e6
        if kind == "number":
            # the nearest to an integer of more digits
            return values.cast(arrow.float64(), safe=False).to_numpy(zero_copy_only=False)
        coded = values.cast(arrow.string()).dictionary_encode()
        words, known = self.words[name], self._numbers[name]
        places = np.empty(len(coded.dictionary) + 1, dtype=np.int32)
        places[-1] = -1  # of what is missing
        for place, word in enumerate(map(str.strip, coded.dictionary.to_pylist())):
            word = word.lower() if word in ("True", "TRUE", "False", "FALSE") else word
            if word in self.missing:
                places[place] = -1
                continue
            if word not in known:
                known[word] = len(words)
                words.append(word)
            places[place] = known[word]
        return places[coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)]

    def _schema(self) -> Any:
        if self.is_parquet:
            from pyarrow import parquet

            return parquet.read_schema(self.path)
        with open(self.path, "rb") as file:
            head = file.read(HEAD)
        if len(head) == HEAD:
            head = head[: head.rfind(b"\n") + 1] or head  # a row that is cut off would look like a shorter value
        _check_text(head)
        # skipped is the last row, if a value of it goes on
        parsing = self.csv.ParseOptions(**self.parsing, invalid_row_handler=lambda row: "skip")
        # by this thread: one of Arrow's may still hold the bytes when Python ends, and then the process aborts
        reading = self.csv.ReadOptions(use_threads=False)
        converting = self.csv.ConvertOptions(strings_can_be_null=True)
        return self.csv.read_csv(io.BytesIO(head), reading, parsing, converting).schema

    def _open(self, columns: list[str], types: dict[str, Any]) -> Any:
        if self.is_parquet:
            from pyarrow import parquet

            return parquet.ParquetFile(self.path).iter_batches(ROWS, columns=columns)
        reading, parsing = self.csv.ReadOptions(block_size=BLOCK), self.csv.ParseOptions(**self.parsing)
        converting = self.csv.ConvertOptions(include_columns=columns, column_types=types, strings_can_be_null=True)
        return self.csv.open_csv(self.path, reading, parsing, converting)

    def _read(self, read: Any) -> Any:
        """Return what `read` does; say in one line why it can't."""
        try:
            return read()
        except (OSError, ValueError, NotImplementedError) as error:  # Arrow's own are such
            text = " ".join(str(error).split())
            found = re.search(BAD_VALUE, text)
            if found is None:
                kind = "Parquet" if self.is_parquet else "CSV"
                raise DataError(f"{self.path}: can't be read as {kind}: {text}") from error
            name = self.columns[int(found[1])]
            hint = "" if name in self.given else f"; mend it, or for words: data.categories=[{name}]"
            where = f" in row {found[2]}" if found[2] else ""
            raise DataError(f"{self.path}: column '{name}': expected numbers, not {found[3]}{where}{hint}") from error


def _check_text(head: bytes) -> None:
    """Raise ValueError if this is not how a text in UTF-8 begins."""
    if head.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise ValueError("it is compressed; unpack it first")
    if head.startswith(b"PAR1"):
        raise ValueError(f"it is Parquet, whose name ends in {' or '.join(PARQUET)}")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # its last letter may be cut
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is none of UTF-8; save it in that encoding") from error
    if b"\0" in head:
        raise ValueError("it holds bytes of 0, as no text does")
