"""A sweep over choices of the user's own, in either order, and gone on with."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from gradloop.sweeps.sweep_folder import read_sweep

TOY = ("-m", "data=linear_regression", "model=linear", "trainer.max_epochs=1", "seed=0", "callbacks=none")


@pytest.mark.slow
@pytest.mark.parametrize("choices", ["adam,mine", "mine,adam"])
def test_own_choices_are_gone_on_with(choices: str, command, tmp_path: Path) -> None:
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "conf" / "optimizer" / "mine.yaml").write_text(
        "_target_: torch.optim.NAdam\n_partial_: true\nlr: 0.01\n"
    )
    line = (*TOY, "--config-dir", str(tmp_path / "conf"), f"optimizer={choices}")
    ended = command(*line)
    assert ended.code == 0, ended.err
    (folder,) = (tmp_path / "here" / "outputs" / "sweeps").iterdir()
    table = (folder / "leaderboard.csv").read_text()
    shutil.rmtree(folder / "1")  # what is gone is done again
    again = command(*line, f"sweep.resume={folder}")
    assert again.code == 0, again.err
    assert "1 not repeated" in again.out
    rows, before = (
        list(csv.DictReader(text.splitlines())) for text in ((folder / "leaderboard.csv").read_text(), table)
    )
    assert [row["val/loss"] for row in rows] == [row["val/loss"] for row in before]
    assert [job.status for job in read_sweep(folder).jobs] == ["completed"] * 2


def test_a_sweep_does_not_go_on_with_files_that_were_edited(command, tmp_path: Path) -> None:
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    mine = tmp_path / "conf" / "optimizer" / "mine.yaml"
    mine.write_text("_target_: torch.optim.NAdam\n_partial_: true\nlr: 0.01\n")
    line = (
        *TOY[:-2],
        "callbacks=none",
        "--config-dir",
        str(tmp_path / "conf"),
        "optimizer=mine",
        "seeds=2",
        "seed=0",
    )
    assert command(*line).code == 0
    (folder,) = (tmp_path / "here" / "outputs" / "sweeps").iterdir()
    mine.write_text(mine.read_text().replace("0.01", "0.02"))
    ended = command(*line[:-2], "seeds=3", "seed=0", f"sweep.resume={folder}")
    assert ended.code == 2
    assert "run 0: the files in --config-dir=" in ended.err
    mine.write_text(mine.read_text().replace("0.02", "0.01"))
    assert command(*line[:-2], "seeds=3", "seed=0", f"sweep.resume={folder}").code == 0


DATA = """
import torch
from gradloop.data.batches import Split
from gradloop.data.data_module import DataModule

class Good(DataModule):
    input_shape, num_outputs, task = (4,), 2, "multiclass"

    def load(self):
        x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        y = (x[:, 0] > 0).long()
        return {"train": Split(x[:40], y[:40]), "val": Split(x[40:50], y[40:50]), "test": Split(x[50:], y[50:])}
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grid", "optuna"])
def test_a_sweep_takes_data_that_lies_in_the_current_folder(method: str, command, tmp_path: Path) -> None:
    (tmp_path / "here" / "swept_data.py").write_text(DATA)
    rates = "optimizer.lr=interval(1e-3,1e-2)" if method == "optuna" else "optimizer.lr=1e-3,1e-2"
    line = [f"sweep={method}", *(["sweep.n_trials=2"] if method == "optuna" else []), "data.batch_size=8", rates]
    ended = command("-m", "data._target_=swept_data.Good", *line, "trainer.max_epochs=1", "seed=0", "callbacks=none")
    assert ended.code == 0, ended.err
    (folder,) = (tmp_path / "here" / "outputs" / "sweeps").iterdir()
    assert [job.status for job in read_sweep(folder).jobs] == ["completed"] * 2


def test_data_that_end_the_program_are_told_by_a_search(command, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    ending = DATA.replace(
        "    def load", "    def __init__(self, **given):\n        raise SystemExit(7)\n\n    def load"
    )
    (tmp_path / "here" / "ending_data.py").write_text(ending)
    search = ["sweep=optuna", "sweep.n_trials=2", "optimizer.lr=interval(1e-3,1e-2)", "seed=0"]
    ended = command("-m", "data._target_=ending_data.Good", *search, "trainer.max_epochs=1", "callbacks=none")
    assert ended.code == 2
    assert "sys.exit(7)" in ended.err
