"""Run folders and sweeps that version 0.1 wrote before its rooms were rebuilt: every command still takes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gradloop.runs.history import read_history
from gradloop.runs.record import read_record, write_record

FOLDERS = Path(__file__).parent
ROUNDED = 1e-6  # relative: what is trained on goes on on another processor than the folders are of
SWEEP = (
    "-m", "data=digits", "optimizer.lr=1e-3,1e-2", "seed=0,1", "trainer.max_epochs=1", "model.hidden_dims=[8]",
    "callbacks.pictures=null",
)  # fmt: skip


@pytest.fixture
def old(tmp_path: Path) -> Path:
    for name in ("run", "stopped", "sweep"):
        shutil.copytree(FOLDERS / name, tmp_path / name)
    return tmp_path


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize(
    ("name", "accuracy", "loss"),
    [("run", 0.2944444417953491, 2.2181856632232666), ("sweep/2", 0.5583333373069763, 1.481579303741455)],
)
def test_evaluating_prints_the_recorded_numbers(command, old: Path, name: str, accuracy: float, loss: float) -> None:
    ended = command(f"run={old / name}", "bootstrap=0", program="evaluate")
    assert ended.code == 0, ended.err
    printed = {line.split()[0]: line for line in ended.out.splitlines()}
    assert printed["test/accuracy"].split()[1:] == [repr(accuracy), "as", "in", "training"]
    assert printed["test/loss"].split()[1:] == [repr(loss), "as", "in", "training"]


def test_epochs_that_were_counted_from_0_are_read_from_1(old: Path) -> None:
    written, read = record(old / "run"), read_record(old / "run")
    assert read["best"]["epoch"] == written["best"]["epoch"] + 1
    write_record(old / "run", read)
    assert read_record(old / "run") == read  # and once only
    assert [row["epoch"] for row in read_history(old / "run")] == list(range(1, 1 + written["epochs"]))


def test_explaining_writes_the_pages(command, old: Path) -> None:
    pytest.importorskip("captum")
    ended = command(f"run={old / 'run'}", "explain.samples=2", "explain.steps=4", program="explain")
    assert ended.code == 0, ended.err
    pages = {"confusion.png", "reliability.png", "per_class.png", "most_wrong.csv", "maps.png", "explain.json"}
    folder = old / "run" / "explain"
    assert pages <= {path.name for path in folder.iterdir()}
    found = json.loads((folder / "explain.json").read_text())  # as d10656b, which wrote the run, explained it
    assert (found["samples"], found["bins"], found["accuracy"]) == (360, 10, 0.2944444417953491)
    assert found["ece"] == pytest.approx(0.15898911654949188, rel=ROUNDED)
    first = (folder / "most_wrong.csv").read_text().splitlines()[1].split(",")
    assert first[:3] == ["digit_1022", "4", "7"]


def test_a_finished_run_goes_on_for_more_epochs(command, old: Path) -> None:
    ended = command(f"resume={old / 'run'}", "trainer.max_epochs=4")
    assert ended.code == 0, ended.err
    metrics = record(old / "run")["metrics"]
    assert metrics["test/loss"] == pytest.approx(2.091702938079834, rel=ROUNDED)
    assert metrics["val/accuracy"] == 0.3680555522441864
    assert metrics["test/accuracy"] == 0.3611111044883728
    rows = (old / "run" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2", "3", "4"]  # the old ones counted from 0


@pytest.mark.slow
def test_a_run_stopped_within_an_epoch_ends_as_if_it_had_not_been(command, old: Path) -> None:
    ended = command(f"resume={old / 'stopped'}")
    assert ended.code == 0, ended.err
    found = record(old / "stopped")
    assert found["status"] == "completed"
    assert found["metrics"]["test/loss"] == pytest.approx(0.16543489694595337, rel=ROUNDED)
    assert found["metrics"]["val/accuracy"] == 0.9722222089767456
    assert (found["best"]["epoch"], found["best"]["step"]) == (39, 11232)


def test_a_run_and_a_sweep_stand_in_one_table(command, old: Path) -> None:
    ended = command(str(old / "run"), str(old / "sweep"), "--out", str(old / "compared"), program="compare")
    assert ended.code == 0, ended.err
    assert "5 runs: 5 completed." in ended.out
    header, *rows = (old / "compared" / "comparison.csv").read_text().splitlines()
    assert {"optimizer.lr", "data.batch_size", "model.hidden_dims", "trainer.max_epochs"} <= set(header.split(","))
    assert sorted(row.split(",")[1] for row in rows) == ["32", "32", "64"]  # two settings of the sweep, and the run


def test_a_finished_sweep_repeats_nothing(command, old: Path) -> None:
    before = {number: record(old / "sweep" / str(number)) for number in range(4)}
    ended = command(*SWEEP, f"sweep.resume={old / 'sweep'}")
    assert ended.code == 0, ended.err
    assert "4 runs: 4 completed." in ended.out
    assert "4 not repeated" in ended.out
    assert before == {number: record(old / "sweep" / str(number)) for number in range(4)}
    assert not (old / "sweep" / "4").exists()
