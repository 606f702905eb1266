"""Output that nobody takes: the run goes on, and its record is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from processes import Child

RUN = ["data=linear_regression", "model=linear", "trainer.max_epochs=3", "threads=1", "logger=none",
       "callbacks.progress.every_seconds=0", "callbacks.curves=null"]  # fmt: skip


def records(root: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in root.rglob("summary.json")]


@pytest.mark.parametrize(
    "arguments",
    [pytest.param(RUN, id="run"), pytest.param(["-m", "seed=0,1", *RUN], id="sweep", marks=pytest.mark.slow)],
)
def test_a_pipe_that_is_closed_ends_no_run(arguments, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    child = Child([*arguments, f"output_dir={tmp_path}"], pipe)
    os.close(os.open(pipe, os.O_RDONLY))  # as `| head -0` does
    assert child.wait() == 0
    assert records(tmp_path)
    for record in records(tmp_path):
        assert (record["status"], record["exit_code"]) == ("completed", 0)
        assert "test/loss" in record["metrics"]


@pytest.mark.parametrize("program", ["train", "entry"])
def test_help_to_a_pipe_that_is_closed(program, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    child = Child(["--help"], tmp_path / "pipe", program=program)
    os.close(os.open(tmp_path / "pipe", os.O_RDONLY))
    assert child.wait() == 0


@pytest.mark.parametrize("closed", [pytest.param(">&-", marks=pytest.mark.slow), ">&- 2>&- <&-"])
def test_closed_streams(closed, tmp_path):
    command = f'exec "$0" -m gradloop.train "$@" {closed}'
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    arguments = [sys.executable, *RUN, f"output_dir={tmp_path}"]
    done = subprocess.run(["sh", "-c", command, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr
    (record,) = records(tmp_path)
    assert record["status"] == "completed"
    assert "test/loss" in record["metrics"]


def test_a_full_disk_under_the_output_is_told(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        code = "import sys; sys.argv = ['gradloop-train', '--help']; from gradloop.commands.train import main; main()"
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert done.returncode == 4
    assert done.stderr.startswith("error: no space left")
    assert done.stderr.count("\n") == 1
