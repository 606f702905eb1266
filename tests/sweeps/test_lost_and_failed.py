"""Runs that are lost are tried again, the first failure may end a sweep; sweeps from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gradloop
from gradloop.errors import ConfigError
from gradloop.runs.folder import lock_of
from gradloop.runs.record import read_record, write_record
from gradloop.sweeps.running import KILLED
from toy_sweep import run_toy

QUICK = ["data=linear_regression", "model=linear", "callbacks=none", "logger=none", "trainer.max_epochs=1"]


def test_a_lost_run_is_tried_again_as_often_as_asked_and_a_failed_one_never(tmp_path):
    done = run_toy(tmp_path, "name=kill,fail,learn", "seed=0", "sweep.retries=2")
    assert [len(done.starts(number)) for number in range(3)] == [3, 1, 1]
    assert done.statuses == ["failed", "failed", "completed"]
    last = done.out.splitlines()[-4:]
    assert last[:2] == [f"run 0 was lost and tried again: {KILLED}"] * 2
    assert len(run_toy(tmp_path, "name=kill", "seed=0", "sweep.retries=0").starts(0)) == 1


def test_the_first_failure_ends_the_sweep_with_its_reason(tmp_path):
    done = run_toy(tmp_path, "name=learn,fail,hang,learn", "seed=0,1", "sweep.stop_on_failure=true", width=2)
    assert done.code == 1
    assert done.statuses[:3] == ["completed", "completed", "failed"]
    assert done.statuses[4:] == ["not_run"] * 2
    assert done.log.count("stop 3") == 1
    reason = "run 2 failed: RuntimeError: the third layer is missing"
    assert f"stopped at the first failure: {reason}; to go on: gradloop-train -m" in done.err


def test_a_sweep_from_python_gives_rows_and_folder(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    rows, folder = swept = gradloop.sweep([*QUICK, "optimizer.lr=1e-3,1e-1", "seed=range(2)"])
    assert "| # | lr | val/loss | " in swept._repr_markdown_()
    assert folder.parent == tmp_path / "outputs" / "sweeps"
    assert [row["optimizer.lr"] for row in rows] == [0.1, 0.001]
    assert [row["n"] for row in rows] == [2, 2]
    assert rows[0]["val/loss"] < rows[1]["val/loss"]
    assert {row["status"] for row in rows} == {"completed"}


@pytest.mark.slow
def test_own_configs_are_found_from_python(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    for name, epochs in (("mine_short", 1), ("mine_long", 2)):
        text = f"# @package _global_\ntrainer:\n  max_epochs: {epochs}\n"
        (tmp_path / "own" / "experiment" / f"{name}.yaml").write_text(text)
    record = gradloop.train([*QUICK[:-1], "experiment=mine_long"], config_dir="own")
    assert record["epochs"] == 2
    swept = gradloop.sweep([*QUICK[:-1], "experiment=glob(mine*)", "optimizer=adam,sgd", "seed=0"], config_dir="own")
    assert sorted({row["experiment"] for row in swept.rows}) == ["mine_long", "mine_short"]
    assert [row["status"] for row in swept.rows] == ["completed"] * 4


@pytest.mark.parametrize("function", [gradloop.train, gradloop.sweep])
def test_what_is_no_text_is_one_line(function):
    with pytest.raises(ConfigError, match=r"\(0.1\): expected texts") as refused:
        function(["seed=1,2", 0.1])
    assert "\n" not in str(refused.value)


def test_m_in_the_middle_of_the_line_and_a_key_given_twice(tmp_path, command):
    ended = command(*QUICK, "seed=7", "-m", "seed=1,2", "hydra.sweep.dir=here")
    assert ended.code == 0, ended.err
    assert "seed" in ended.err
    assert "twice" in ended.err
    assert "2 runs: 2 completed" in ended.out
    refused = command("-m", *QUICK, "hydra.sweep.subdir=x", "seed=1,2")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "hydra.sweep.subdir" in refused.err


def test_a_run_that_another_process_works_on_is_left_to_it(tmp_path: Path) -> None:
    """A job waits for the run's lock; when it gives up, it writes nothing into the other's record."""
    folder = tmp_path / "0"
    folder.mkdir()
    record = {"status": "running", "overrides": ["seed=0"], "host": "another"}
    write_record(folder, record)
    before = read_record(folder)
    code = (
        "import sys, pathlib; from gradloop.sweeps.engines import JobSpec, RunSpec, job; job.OUTLIVED = 0.1; "
        "run = RunSpec(pathlib.Path(sys.argv[1]), ['seed=0', 'trainer.max_epochs=1']); "
        "job.run_job(JobSpec((run,), None, 'train', 1, sys.argv[1]))"
    )
    with lock_of(folder):
        ended = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr
    assert read_record(folder) == before
    assert "another process works on this run" in (folder / "output.log").read_text()
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "output.log", "summary.json"]
