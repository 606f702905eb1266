"""A table's run measured on its file since changed, and columns that are not what they seem."""

from __future__ import annotations

from pathlib import Path

import pytest

import gradloop
from gradloop.commands.evaluate import run as evaluate
from gradloop.errors import DataError

pytest.importorskip("pyarrow")

QUICK = ["data=csv", "data.target=y", "trainer.max_epochs=3", "logger=none", "callbacks.curves=null", "seed=0",
         "data.batch_size=8"]  # fmt: skip
WORDS = ("red", "green", "blue")


def write(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    rows = [f"{WORDS[k % 3]},{k / 100},{'yes' if k % 3 else 'no'}" for k in range(120)]
    return write(tmp_path / "t.csv", "colour,x,y", rows)


def trained(file: Path, *more: str) -> str:
    return gradloop.train([*QUICK, f"data.file={file}", f"output_dir={file.parent}", *more])["folder"]


def test_a_run_is_measured_by_the_columns_that_it_was_trained_with(colours, capsys):
    folder = trained(colours, "trainer.max_epochs=60", "optimizer.lr=0.05", "model=linear")
    before = evaluate([f"run={folder}"], None, "evaluate")
    assert before["test/accuracy"] == 1.0
    # sorted by letters, the new word would be the first feature, and another word less than before
    colours.write_text(colours.read_text().replace("green", "zeta").replace("blue", "azure", 5))
    capsys.readouterr()
    after = evaluate([f"run={folder}"], None, "evaluate")
    assert "warning: the data have changed since the run" in capsys.readouterr().out
    assert after["test/accuracy"] >= 0.6  # 'red' and the blue ones left are known
    colours.write_text(colours.read_text().replace("colour,", "hue,"))
    with pytest.raises(DataError, match=r"the run was trained on it: no column 'colour'"):
        evaluate([f"run={folder}"], None, "evaluate")


def test_a_run_goes_on_with_its_columns(colours):
    folder = trained(colours)
    assert gradloop.train([f"resume={folder}", "trainer.max_epochs=5"])["epochs"] == 5
    colours.write_text(colours.read_text().replace("green", "zeta"))
    with pytest.raises(DataError, match="its data have changed since it began"):
        gradloop.train([f"resume={folder}", "trainer.max_epochs=7"])


def test_numbers_of_rows_that_pandas_writes_are_no_column(tmp_path):
    rows = [f"{k},{k % 7},{k // 60}" for k in range(120)]  # the number of a row would tell the class
    record = gradloop.train(
        [*QUICK, f"data.file={write(tmp_path / 't.csv', ',x,y', rows)}", f"output_dir={tmp_path}"]
    )
    assert record["data"]["input_names"] == ["x"]
    ends = write(tmp_path / "e.csv", "x,y,", [f"{k % 7},{k // 60}," for k in range(120)])
    assert gradloop.train([*QUICK, f"data.file={ends}", f"output_dir={tmp_path}"])["data"]["input_names"] == ["x"]


def test_days_that_name_the_rows_are_written_as_days(tmp_path):
    rows = [f"2024-{1 + k // 28:02}-{1 + k % 28:02},{k % 5},{k % 2}" for k in range(120)]
    file = write(tmp_path / "t.csv", "day,x,y", rows)
    folder = trained(file, "data.id=day", "data.time=day")
    evaluate([f"run={folder}", "predictions=true"], None, "evaluate")
    names = [line.partition(",")[0] for line in (Path(folder) / "predictions.csv").read_text().splitlines()[1:]]
    assert "2024-05-08" in names
    assert all(len(name) == 10 for name in names)


def test_classes_that_are_fractions_are_folded(tmp_path):
    file = write(tmp_path / "t.csv", "x,y", [f"{k % 7},{(k % 3) / 2 + 0.5}" for k in range(120)])
    folded = ["data.task=multiclass", "folds=3", "data.fold=1"]
    record = gradloop.train([*QUICK, *folded, f"data.file={file}", f"output_dir={tmp_path}"])
    assert record["data"]["class_names"] == ["0.5", "1", "1.5"]
