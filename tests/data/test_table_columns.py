"""Columns that name, group and order the rows of a table; values that are long, large or cut off."""

from __future__ import annotations

import re
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinic_table import make
from gradloop.data.splitting import split_table
from gradloop.data.tables import table_file
from gradloop.data.tables.rows import read_new
from gradloop.data.tables.table_file import TableFile
from gradloop.errors import ConfigError, DataError
from gradloop.training.build import facts_of

pyarrow = pytest.importorskip("pyarrow")


def loaded(file: Path, **changes: Any) -> Any:
    data = make(file, **{"target": "y", "drop": [], "batch_size": 16, **changes})
    data.setup("fit")
    return data


def table(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_columns_that_are_called_by_numbers_keep_their_roles(tmp_path):
    file = table(tmp_path / "t.csv", "0,1,2,3", [f"{row % 20},{row / 7},{row},{row % 2}" for row in range(200)])
    data = loaded(file, target=3, group=0, id=2)
    assert data.input_names == ("1",)
    assert data.preprocessing()["table"]["id"] == "2"


@pytest.mark.parametrize(("number", "told"), [("1e300", "1e+300 is too large for float32"), ("inf", "infinite")])
def test_a_number_that_no_network_holds_is_named_in_training_and_later(number, told, tmp_path):
    rows = [f"{row / 7},{row % 2}" for row in range(200)]
    whole, wrong = (table(tmp_path / f"{k}.csv", "x,y", r) for k, r in enumerate((rows, [*rows, f"{number},1"])))
    with pytest.raises(DataError, match=rf"column 'x', row 201: {re.escape(told)}"):
        loaded(wrong)
    data = loaded(whole)
    with pytest.raises(DataError, match=rf"column 'x', row 201: {re.escape(told)}"):
        read_new(wrong, data.preprocessing(), facts_of(data))


def test_a_category_that_is_a_number_is_the_same_with_a_point(tmp_path, capsys):
    rows = [f"{row % 4},{row % 2}" for row in range(200)]
    data = loaded(table(tmp_path / "t.csv", "z,y", rows), categories=["z"])
    whole, pointed = ([f"{number}{point}" for number in (0, 1, 2, 3)] for point in ("", ".0"))
    tables = [
        table(tmp_path / f"{k}.csv", "z,x", [f"{z},1" for z in values]) for k, values in enumerate((whole, pointed))
    ]
    one, other = (read_new(file, data.preprocessing(), facts_of(data))[1] for file in tables)
    assert one.tolist() == other.tolist() == np.eye(4).tolist()
    assert "is read as" not in capsys.readouterr().out


def test_pandas_numbers_of_rows_are_no_column(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": np.arange(200) / 7, "y": np.arange(200) % 2}).sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "t.parquet")
    assert loaded(tmp_path / "t.parquet").input_names == ("x",)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_id_is_text_as_it_stands(kind, tmp_path):
    ids = ["007", "1234567890123456789", "0.10", "", *(str(row) for row in range(4, 200))]
    file = table(tmp_path / "t.csv", "id,x,y", [f"{name},{row / 7},{row % 2}" for row, name in enumerate(ids)])
    if kind == "parquet":
        from pyarrow import parquet

        columns = {"id": [1234567890123456789 + row for row in range(200)], "x": [0.5 * row for row in range(200)],
                   "y": [row % 2 for row in range(200)]}  # fmt: skip
        file, ids = tmp_path / "t.parquet", [str(number) for number in columns["id"]]
        parquet.write_table(pyarrow.table(columns), file)
    data = loaded(file, id="id")
    named = {row: split.names[place] for split in data.splits.values() for place, row in enumerate(split.names.rows)}
    assert [named[row] for row in range(200)] == ids
    names, _, _ = read_new(file, data.preprocessing(), {"class_names": ["0", "1"], "task": "binary"})
    assert names == ids


def test_long_integers_and_microseconds_are_numbers(tmp_path):
    from pyarrow import parquet

    file = tmp_path / "t.parquet"
    numbers = [2**53 + 1 + 2 * row for row in range(100)]
    times = pyarrow.array([1_700_000_000_123_456_789 + 10_000 * row for row in range(100)], pyarrow.timestamp("ns"))
    parquet.write_table(pyarrow.table({"x": numbers, "t": times, "y": [row % 2 for row in range(100)]}), file)
    data = loaded(file, time="t")
    assert data.known["t"][0] == pytest.approx(1_700_000_000.123456, abs=1e-6)
    assert data.splits["train"].inputs.isfinite().all()


@pytest.mark.parametrize("scaler", ["none", "robust"])
def test_one_huge_value_spoils_no_other(scaler, tmp_path):
    values = [row / 1000 for row in range(1000)]
    values[500] = 1e12
    file = table(tmp_path / "t.csv", "x,y", [f"{value},{row % 2}" for row, value in enumerate(values)])
    data = loaded(file, scaler=scaler)
    found = np.concatenate([split.inputs.numpy()[:, 0] for split in data.splits.values()])
    rows = np.concatenate([split.names.rows for split in data.splits.values()])
    others = rows != 500
    slope, offset = np.polyfit(np.array(values)[rows[others]], found[others], 1)
    np.testing.assert_allclose(found[others], slope * np.array(values)[rows[others]] + offset, atol=2e-4)


def test_a_value_that_the_head_of_a_file_cuts_off_does_not_decide_its_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "HEAD", 1000)
    for end in range(12):
        header = "x" + "x" * end + ",day"
        file = table(tmp_path / f"{end}.csv", header, [f"{row % 10},2024-12-31" for row in range(500)])
        assert TableFile(file, delimiter=",").kinds["day"] == "time"


def test_too_few_different_times_are_refused(tmp_path):
    for different in (1, 2):
        with pytest.raises(ConfigError, match="different times are too few"):
            split_table(100, test_fraction=0.2, val_fraction=0.2, random_state=0, times=np.arange(100) % different)


def test_rows_of_one_day_are_in_one_fold():
    days = np.array([(date(2024, 1, 1) + timedelta(days=row // 7)).toordinal() for row in range(210)], dtype=float)
    days = np.random.default_rng(0).permutation(days)
    for fold in range(5):
        parts = split_table(210, test_fraction=0.2, val_fraction=0.0, random_state=0, times=days, folds=5, fold=fold)
        train, test = (set(days[parts[name]]) for name in ("train", "test"))
        assert train
        assert test
        assert max(train) < min(test)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"columns": ["a", "b"], "drop": ["b"]}, r"data.drop=\[b\]: data.columns names it, too"),
        ({"columns": []}, "no column to predict 'y' from"),
        ({"columns": ["a"], "categories": ["b"]}, r"data.categories=\[b\]: none of the columns to predict from"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(changes, told, tmp_path):
    file = table(tmp_path / "t.csv", "a,b,y", [f"{row / 7},{row % 3},{row % 2}" for row in range(40)])
    with pytest.raises((ConfigError, DataError), match=told):
        loaded(file, **changes)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("x,y\n1,2\n".encode("utf-16"), "byte 0 is none of UTF-8"),
        ("이름,y\n1,2\n".encode("cp949"), "byte 0 is none of UTF-8"),
        (bytes(range(128)) * 10, "bytes of 0"),
        (b"PAR1" + bytes(40), "it is Parquet, whose name ends in .parquet"),
    ],
)
def test_a_file_that_is_no_text_is_told_in_one_line(content, told, tmp_path, capfd):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"t\.csv: can't be read as CSV: .*{told}"):
        loaded(tmp_path / "t.csv")
    assert capfd.readouterr().err == ""


def test_a_letter_that_the_head_of_a_file_cuts_in_two_is_no_mistake(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "HEAD", 13)  # the last of "x,y\n가,1\n나" has three bytes
    file = table(tmp_path / "t.csv", "x,y", [f"{'가나'[row % 2]},{row % 2}" for row in range(40)])
    assert TableFile(file, delimiter=",").kinds == {"x": "word", "y": "number"}


def test_a_pyarrow_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    file = table(tmp_path / "t.csv", "a,y", ["1,0", "2,1"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"^data=csv needs pyarrow: pip install 'gradloop\[tables\]'$"):
        loaded(file)
