"""Tables as people have them: by time, with a slip, of codes; each is read right, or a line says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import gradloop
from gradloop.commands.evaluate import run as evaluate
from gradloop.config.compose import compose_config
from gradloop.errors import DataError
from gradloop.training.build import Builder

pytest.importorskip("pyarrow")

QUIET = ["seed=0", "logger=none", "callbacks.curves=null", "callbacks.progress=null", "trainer.max_epochs=1"]
SMALL = "data.batch_size=8"


def table(folder: Path, text: str, *more: str) -> list[str]:
    (folder / "t.csv").write_text(text)
    return ["data=csv", f"data.file={folder}/t.csv", *more]


@pytest.mark.parametrize("rows", [200, 20_000])
def test_folds_in_time_hold_the_rows_that_they_name(rows: int, tmp_path: Path) -> None:
    lines = "".join(f"{day},{day},{day % 2}\n" for day in range(rows))
    given = table(tmp_path, f"day,x,y\n{lines}", "data.target=y", "data.time=day", "data.columns=[x]")
    given += ["data.scaler=none", "data.batch_size=8", "data.folds=4", "data.fold=0"]
    config, _ = compose_config([*given, "seed=0"])
    data = Builder(()).data(dict(config.data), 0)
    data.setup("fit")
    for part, split in data.splits.items():
        assert torch.equal(split.inputs[:, 0] % 2, split.targets.flatten().float()), part
        assert np.array_equal(split.inputs[:, 0].numpy(), data.parts[part])


def test_a_slip_among_numbers_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "".join(f"{k if k != 7 else 'none'},{k % 2}\n" for k in range(200))
    given = table(tmp_path, f"age,y\n{lines}", "data.target=y")
    gradloop.train([*QUIET, f"output_dir={tmp_path}/runs", *given])
    assert "column 'age' is read as words: 'none' is no number; mend it, or data.categories=[age]" in (
        capsys.readouterr().out
    )


def test_dates_are_no_target(tmp_path: Path) -> None:
    lines = "".join(f"2024-01-{1 + k % 28:02},{k}\n" for k in range(100))
    given = table(tmp_path, f"day,x\n{lines}", "data.target=day")
    with pytest.raises(DataError, match=r"data\.target=day: holds dates; expected classes or numbers"):
        gradloop.train([*QUIET, f"output_dir={tmp_path}/runs", *given])


def test_the_column_of_a_bad_value_is_named_where_one_has_no_name(tmp_path: Path) -> None:
    lines = "".join(f"{k},{k},{k + 1},{k % 2}\n" for k in range(100))
    given = table(tmp_path, f",a,b,y\n{lines}", "data.target=y", SMALL)  # as pandas writes it
    folder = gradloop.train([*QUIET, f"output_dir={tmp_path}/runs", *given])["folder"]
    (tmp_path / "new.csv").write_text(",a,b\n0,1,2\n1,2,?\n")
    with pytest.raises(DataError, match=r"column 'b': expected numbers, not '\?'"):
        evaluate([f"run={folder}", f"inputs={tmp_path}/new.csv"], None, "evaluate")


def test_a_new_code_is_none_of_the_run_s_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "".join(f"{('1000', '2000')[k % 2]},{k},{k % 2}\n" for k in range(100))
    given = table(tmp_path, f"zip,x,y\n{lines}", "data.target=y", "data.categories=[zip]", SMALL)
    folder = gradloop.train([*QUIET, f"output_dir={tmp_path}/runs", *given])["folder"]
    (tmp_path / "new.csv").write_text("zip,x\n01000,1\n1000.0,2\n")
    evaluate([f"run={folder}", f"inputs={tmp_path}/new.csv", "predictions=true"], None, "evaluate")
    said = capsys.readouterr().out
    assert "'01000' is read as none of those that the run has seen" in said
    assert "and 1 more" not in said
