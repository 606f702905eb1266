"""What is done with a table's run: it learns, and reads new tables."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from clinic_table import COLUMNS, ROWS, clinic, loaded, make, rows, write  # noqa: F401 - a fixture
from one_line import assert_one_line

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def trained(file, tmp_path_factory):
    import gradloop

    overrides = ["data=csv", f"data.file={file}", "data.target=sick", "data.drop=[day,cost]", "data.batch_size=32"]
    quiet = ["callbacks.progress=null", "callbacks.curves=null", "logger=none", "callbacks.tensorboard=null"]
    folder = tmp_path_factory.mktemp("run")
    return gradloop.train(
        [*overrides, *quiet, "trainer.max_epochs=20", "optimizer.lr=1e-2", "seed=0", f"output_dir={folder}"]
    )


def test_the_command_says_the_task_and_learns(file, command):
    ended = command("data=csv", f"data.file={file}", "data.target=cost", "data.drop=[day]", "trainer.max_epochs=1")
    assert ended.code == 0, ended.err
    assert "'cost' holds real values: task regression; from 2 columns of numbers and 3 of words" in ended.out


def test_a_target_far_from_0_is_told_of_and_keeps_its_unit(tmp_path, command):
    rows = [f"{i % 7},{20000 + 25 * i}" for i in range(80)]
    (tmp_path / "prices.csv").write_text("\n".join(["rooms,price", *rows]))
    given = ["data=csv", f"data.file={tmp_path}/prices.csv", "data.target=price", "data.batch_size=32"]
    ended = command(*given, "trainer.max_epochs=1", "logger=none")
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "'price' holds real values (2.1e+04 ±" in said
    assert "not scaled" in said


@pytest.mark.slow
def test_folds_and_seeds_of_a_table_are_one_setting_each(tmp_path, file, command):
    given = ["data=csv", f"data.file={file}", "data.target=sick", "data.drop=[day,cost]", "model.hidden_dims=[4]"]
    given += ["trainer.max_epochs=1", "logger=none", "folds=3", "seeds=2", "sweep.population=auto"]
    ended = command("-m", *given, "optimizer.lr=1e-1,1e-5", "hydra.sweep.dir=s", "callbacks.curves=null")
    assert ended.code == 0, ended.err
    table = list(csv.DictReader((tmp_path / "here" / "s" / "leaderboard.csv").read_text().splitlines()))
    assert [row["n"] for row in table] == ["6", "6"]
    assert "folds share training data and are not independent: Nadeau & Bengio's correction" in ended.out


def test_a_new_table_with_its_columns_in_any_order(trained, file, tmp_path, command):
    assert trained["metrics"]["test/accuracy"] > 0.8
    folder = Path(trained["folder"])
    assert command(f"run={folder}", "predictions=true", program="evaluate").code == 0
    expected = {row["name"]: row for row in csv.DictReader((folder / "predictions.csv").read_text().splitlines())}
    order = [5, 2, 1, 0, 3]
    shuffled = [[row[place] for place in order] + ["more"] for row in rows()]
    new = write(tmp_path / "new.csv", [*(COLUMNS[place] for place in order), "unknown"], shuffled)
    ended = command(f"run={folder}", f"inputs={new}", "predictions=true", program="evaluate")
    assert ended.code == 0, ended.err
    assert re.search(r"accuracy +0\.\d+  \[0\.\d+, 0\.\d+\]", ended.out)
    assert f"holds 95 % of 1000 bootstrap resamples of inputs={new}" in ended.out
    found = {row["name"]: row for row in csv.DictReader((folder / "predictions_new.csv").read_text().splitlines())}
    assert len(found) == ROWS
    ended = command(f"run={folder}", f"inputs={new}", "predictions=true", program="evaluate")
    assert "predictions_new.csv (in place of those that were there)" in ended.out
    for name, row in expected.items():
        assert found[name]["target"] == row["target"]
        assert float(found[name]["p_yes"]) == pytest.approx(float(row["p_yes"]), abs=1e-6)
    without = write(tmp_path / "unknown.csv", [*COLUMNS[:3], "clinic"], [[30, "Rom", 1_700_000_000, "c1"]])
    ended = command(f"run={folder}", f"inputs={without}", "predictions=true", program="evaluate")
    assert ended.code == 0, ended.err
    assert "target" not in (folder / "predictions_unknown.csv").read_text()
    for knob, why in (("confidence=0.9", "holds no answers to measure by"), ("resize=true", "for pictures")):
        given = f"inputs={without}", "predictions=true", knob
        assert_one_line(command(f"run={folder}", *given, program="evaluate"), 2, [knob, why])


@pytest.mark.parametrize(
    ("columns", "row", "code", "words"),
    [
        (
            ["age", "city", "incme", "clinic"],
            [30, "Rom", 1, "c1"],
            3,
            ["no column 'income'", "did you mean 'incme'?"],
        ),
        (["age", "city", "clinic"], [30, "Rom", "c1"], 3, ["no column 'income'", "age, city, clinic"]),
        (["age", "city", "income", "clinic"], ["old", "Rom", 1, "c1"], 3, ["column 'age'", "not 'old'"]),
        (
            ["age", "city", "income", "clinic", "sick"],
            [3, "Rom", 1, "c1", "ill"],
            3,
            ["'ill' is no class", "no, yes"],
        ),
        (["age", "city", "income", "clinic"], [3, "Rom", 1, "c1"], 2, ["inputs=", "predictions=true"]),
    ],
)
def test_a_new_table_that_does_not_fit(columns, row, code, words, trained, tmp_path, command):
    new = write(tmp_path / "new.csv", columns, [row])
    more = ["predictions=true"] if code == 3 else []
    assert_one_line(command(f"run={trained['folder']}", f"inputs={new}", *more, program="evaluate"), code, words)


def test_importance_is_by_column(trained, file, command):
    pytest.importorskip("captum")
    folder = Path(trained["folder"])
    ended = command(f"run={folder}", "explain.repeats=3", "explain.steps=8", program="explain")
    assert ended.code == 0, ended.err
    table = {
        row["feature"]: row for row in csv.DictReader((folder / "explain/features.csv").read_text().splitlines())
    }
    assert set(table) == {"age", "city", "income", "clinic"}
    importance = {name: float(row["importance_mean"]) for name, row in table.items()}
    assert min(importance["age"], importance["city"]) > max(importance["income"], importance["clinic"])
    ended = command(f"run={folder}", f"explain.inputs={file}", program="explain")
    assert ended.code == 0, ended.err
    header = (folder / "explain" / "inputs_attributions.csv").read_text().splitlines()[0]
    assert header == "name,age,city,income,clinic"
