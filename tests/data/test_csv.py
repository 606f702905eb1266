"""A table of one's own: what is read, learned on the training part alone, and applied to new rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from clinic_table import COLUMNS, ROWS, clinic, loaded, make, rows, write  # noqa: F401 - a fixture
from gradloop.data.tables.rows import read_new
from gradloop.errors import GradloopError
from one_line import assert_one_line

pyarrow = pytest.importorskip("pyarrow")


def test_preprocessing_is_scikit_learns_on_the_training_part_alone(file):
    data = loaded(file, drop=["day", "cost", "clinic"])
    table = rows()
    numbers = np.array([[np.nan if row[0] == "" else row[0], row[2]] for row in table], dtype=float)
    words = np.array([["(missing)" if row[1] == "NA" else row[1]] for row in table])
    both = np.concatenate([numbers.astype(object), words.astype(object)], 1)
    theirs = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), [0, 1]),
            ("words", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), [2]),
        ]
    ).fit(both[data.parts["train"]])
    expected = theirs.transform(both)
    assert data.input_names == ("age", "city=Oslo", "city=Rom", "city=Wien", "city=(missing)", "income")
    order = [0, 3, 4, 5, 2, 1]  # theirs: age, income, (missing), Oslo, Rom, Wien
    for part, chosen in data.parts.items():
        np.testing.assert_allclose(data.splits[part].inputs, expected[chosen][:, order], atol=2e-5)
    other = loaded(file, drop=["day", "cost", "clinic"], random_state=1)
    assert other.preprocessing()["columns"] != data.preprocessing()["columns"]
    json.dumps(data.preprocessing())  # plain data


def test_parquet_and_csv_are_one_table(file, tmp_path):
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    options = arrow_csv.ConvertOptions(strings_can_be_null=True)
    parquet.write_table(arrow_csv.read_csv(file, convert_options=options), tmp_path / "clinic.parquet")
    assert loaded(tmp_path / "clinic.parquet").fingerprint() == loaded(file).fingerprint()


@pytest.mark.parametrize(
    ("changes", "task", "outputs"),
    [
        ({}, "binary", 1),
        ({"task": "multiclass"}, "multiclass", 2),
        ({"target": "city", "drop": ["age"], "columns": ["income"]}, None, 0),
        ({"target": "clinic"}, "multiclass", 12),
        ({"target": "cost", "drop": ["day"]}, "regression", 1),
    ],
)
def test_the_task_is_found_from_the_target(changes, task, outputs, file):
    if task is None:
        with pytest.raises(GradloopError, match="no value in 11 of 240 rows"):
            loaded(file, **changes)
        return
    data = loaded(file, **changes)
    assert (data.task, data.num_outputs) == (task, outputs)
    assert data.batch_size <= len(data.splits["train"])


def test_groups_and_times(file):
    data = loaded(file, group="clinic")
    names = [rows()[row][5] for row in range(ROWS)]
    seen = [{names[row] for row in chosen} for chosen in data.parts.values()]
    assert sum(map(len, seen)) == 12
    assert "clinic" not in "".join(data.input_names)
    later = loaded(file, time="day", drop=["cost"], id="clinic")
    assert max(later.parts["train"]) < min(later.parts["val"]) <= max(later.parts["val"]) < min(later.parts["test"])
    assert later.splits["test"].names[0] == names[later.parts["test"][0]]
    folds = [loaded(file, folds=4, fold=fold) for fold in range(4)]
    assert sorted(np.concatenate([each.parts["test"] for each in folds])) == list(range(ROWS))


def test_rare_words_share_a_feature_and_new_ones_join_them_and_are_told_of(file, tmp_path, capsys):
    data = loaded(file, max_categories=4)
    clinics = [name for name in data.input_names if name.startswith("clinic=")]
    assert len(clinics) == 4
    assert clinics[-1] == "clinic=(infrequent)"
    new = write(tmp_path / "new.csv", ["income", "clinic", "age", "city"], [[1_700_000_001, "c99", 30, "Paris"]])
    _, inputs, targets = read_new(new, data.preprocessing(), {"class_names": ["no", "yes"], "task": "binary"})
    assert capsys.readouterr().out.splitlines() == [
        f"{new}: column 'city': 'Paris' is read as none of those that the run has seen",
        f"{new}: column 'clinic': 'c99' is read as a rare word",
    ]
    row = dict(zip(data.input_names, inputs[0].tolist(), strict=True))
    assert row["clinic=(infrequent)"] == 1
    assert sum(value for name, value in row.items() if name.startswith("city=")) == 0
    assert targets is None


MISTAKES = [
    ("data.file=nowhere.csv data.target=sick", 3, ["data.file=nowhere.csv", "no such file"]),
    ("data.target=sik", 3, ["data.target", "no column 'sik'", "did you mean 'sick'?"]),
    ("data.target=sick", 3, ["column 'day' holds dates", "data.time=day", "data.drop=[day]"]),
    ("data.target=sick data.drop=[dya]", 3, ["data.drop", "'dya'", "'day'"]),
    ("data.target=sick data.delimiter=;", 3, ["no column 'sick'", "data.delimiter=; right?"]),
    ("data.target=sick data.delimiter=ab", 2, ["data.delimiter=ab", "one character"]),
    ("data.target=sick data.drop=[day] data.missing=refuse", 3, ["column 'age'", "row 4", "data.missing=median"]),
    ("data.target=sick data.drop=[day] data.task=regression", 3, ["data.task=regression", "'no' is no number"]),
    ("data.target=clinic data.drop=[day] data.task=binary", 3, ["12 classes", "two"]),
    ("data.target=sick data.drop=[day] data.missing=medain", 2, ["data.missing=medain", "'median'"]),
    ("data.target=sick data.scaler=z", 2, ["data.scaler=z", "standard"]),
    ("data.target=sick data.columns=[sick,age]", 2, ["data.columns", "data.target=sick"]),
    ("data.target=sick data.group=clinic data.time=day", 2, ["data.group and data.time"]),
    ("data.target=sick data.time=clinic data.drop=[day]", 3, ["data.time=clinic", "dates"]),
    ("data.target=city data.drop=[day]", 3, ["data.target=city", "no value in 11 of 240 rows", "row 5"]),
    ("data.target=sick data.drop=[day] data.test_fraction=1", 2, ["data.test_fraction=1", "below 1"]),
    ("", 2, ["'data.target' has no value"]),
]


@pytest.mark.parametrize(("line", "code", "words"), MISTAKES, ids=[line for line, _, _ in MISTAKES])
def test_a_mistake_gets_one_line(line, code, words, file, command):
    given = line.replace("=;", "=';'").split()
    given = given if "data.file" in line else [f"data.file={file}", *given]
    assert_one_line(command("data=csv", *given), code, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Empty"),
        ("a,b\n", "no row"),
        ("a,b\n1,2\n1,2,3\n", "Expected 2 columns, got 3"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("a,b\n1,inf\n2,0\n", "column 'b', row 1: infinite"),
    ],
)
def test_files_that_are_no_table(text, words, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(GradloopError, match=words):
        loaded(tmp_path / "a.csv", target="a", drop=[], task="regression")


def test_a_word_among_numbers_is_named(tmp_path):
    lines = ["a,b", *("1,2" for _ in range(2_200_000)), "x,3"]  # beyond the rows that decide what a column holds
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(GradloopError, match=r"column 'a': expected numbers, not 'x'; .*data\.categories=\[a\]"):
        loaded(tmp_path / "a.csv", target="b", drop=[])


MEMORY = """
import sys
from pathlib import Path
from omegaconf import OmegaConf
from gradloop.config.compose import compose_config
from gradloop.training.build import Builder

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1e3

def load(file):
    config, _ = compose_config(["data=csv", f"data.file={file}", "data.target=y", "seed=0"])
    data = Builder()("data", OmegaConf.to_container(config.data, resolve=True))
    data.setup()
    return sum(split.inputs.numel() * 4 for split in data.splits.values()) / 1e6

load(sys.argv[1])  # what is imported stays
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
size = load(sys.argv[2])
print(size, status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process's peak")
def test_memory_stays_below_twice_the_datas(tmp_path):
    from pyarrow import csv as arrow_csv

    rng = np.random.default_rng(0)
    for name, count in (("small", 1_000), ("large", 400_000)):
        columns = {f"x{k}": rng.normal(size=count).round(4) for k in range(50)} | {"y": rng.random(count)}
        arrow_csv.write_csv(pyarrow.table(columns), tmp_path / f"{name}.csv")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "small.csv"), str(tmp_path / "large.csv")],
        capture_output=True,
        text=True,
        check=True,
    )
    size, peak = map(float, done.stdout.split()[-2:])
    assert size == 80
    assert peak < 2 * size
