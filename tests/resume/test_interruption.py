"""Signals, kill -9, a full disk, damaged files, two runs at once: the damage is done, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.errors import CheckpointError
from gradloop.runs.checkpoint_files import read_checkpoint
from processes import Child, until

QUICK = ["data=linear_regression", "model=linear", "seed=0", "threads=1", "callbacks.curves=null",
         "callbacks.tensorboard=null"]  # fmt: skip
ENDLESS = [*QUICK, "trainer.max_epochs=1000000", "callbacks.checkpoints.every_seconds=0"]


def only_run(root: Path) -> Path:
    (folder,) = (root / "train").iterdir()
    return folder


def started(root: Path) -> Callable[[], bool]:
    return lambda: bool(list(root.glob("train/*/checkpoints/last.ckpt")))


def record(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_how_to_go_on(number: int, code: int, tmp_path: Path) -> None:
    child = Child([*ENDLESS, f"output_dir={tmp_path}"], tmp_path / "log")
    until(started(tmp_path))
    child.signal(number)
    assert child.wait() == code
    folder = only_run(tmp_path)
    assert record(folder)["status"] == "interrupted"
    assert record(folder)["exit_code"] == code
    assert f"gradloop-train resume={folder}" in child.output()
    epoch = read_checkpoint(folder / "checkpoints" / "last.ckpt")["epoch"]
    resumed = gradloop.train([f"resume={folder}", f"trainer.max_epochs={epoch + 3}"])
    assert resumed["status"] == "completed"
    assert resumed["epochs"] == epoch + 3


def test_a_second_signal_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [*ENDLESS, f"output_dir={tmp_path}", "allow=[slow_network]", "model._target_=slow_network.Slow"]
    (tmp_path / "slow_network.py").write_text(
        "import time, torch\n"
        "LEFT = [0, 1]\n"  # its first step is a trial, before anything is created
        "class Slow(torch.nn.Linear):\n"
        "    def __init__(self): super().__init__(1, 1)\n"
        "    def forward(self, x):\n"
        "        if self.training and torch.is_grad_enabled():\n"
        f"            open({str(tmp_path / 'asleep')!r}, 'a').write('.')\n"
        "            time.sleep(0 if LEFT.pop() else 30)\n"
        "        return super().forward(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    child = Child(slow, tmp_path / "log")
    until(lambda: (tmp_path / "asleep").exists() and (tmp_path / "asleep").read_text() == "..")
    # two within a second are one: a process group's, and its sweep's
    until(lambda: child.ended(within=1.2) or child.signal(signal.SIGTERM), timeout=25)
    assert child.code == 143
    assert record(only_run(tmp_path))["status"] == "running"


@pytest.mark.slow
def test_slurm_is_asked_to_requeue(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    (tools / "scontrol").chmod(0o755)
    environment = {"SLURM_JOB_ID": "4711", "PATH": f"{tools}:{os.environ['PATH']}"}
    child = Child([*ENDLESS, f"output_dir={tmp_path}"], tmp_path / "log", environment)
    until(started(tmp_path))
    child.signal(signal.SIGUSR1)
    assert child.wait() == 128 + signal.SIGUSR1
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
    assert record(only_run(tmp_path))["status"] == "interrupted"


def kill_again_and_again(times: int, root: Path) -> None:
    """Kill a training at random moments, resume it each time, and look at every file under a final name."""
    dice = random.Random(0)
    other_disk = {"TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else {}
    child = Child([*ENDLESS, f"output_dir={root}"], root / "log", other_disk)
    until(started(root))
    folder = only_run(root)
    reached = -1
    for _ in range(times):
        until(lambda: time_passed(dice))
        child.signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert record(folder)["status"] == "running"
        for path in (folder / "checkpoints").glob("*.ckpt"):
            read_checkpoint(path)
        step = read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"]
        assert step >= reached, "an earlier checkpoint was lost"
        reached = step
        child = Child([f"resume={folder}"], root / "log", other_disk)
        saved = (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
        until(lambda saved=saved: (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns > saved)
        assert not [p for p in folder.rglob("*.tmp") if f".{child.pid}." not in p.name], "litter stays"
    child.signal(signal.SIGTERM)
    assert child.wait() == 143


def time_passed(dice: random.Random) -> bool:
    return dice.random() < 0.05


def test_kill_leaves_only_whole_files(tmp_path: Path) -> None:
    kill_again_and_again(4, tmp_path)


@pytest.mark.slow
def test_a_hundred_kills_leave_only_whole_files(tmp_path: Path) -> None:
    kill_again_and_again(100, tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(path: Path) -> None:
    """Write until no byte fits on the disk."""
    with open(path, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("seconds", [0, 1])  # 1: TensorBoard's thread is the first to find the disk full
def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(
    seconds: int, small_disk: Path, tmp_path: Path
) -> None:
    drawing = [line for line in ENDLESS if "=null" not in line and "every_seconds" not in line]
    child = Child(
        [*drawing, f"callbacks.checkpoints.every_seconds={seconds}", f"output_dir={small_disk}"], tmp_path / "log"
    )
    until(started(small_disk))
    folder = only_run(small_disk)
    until(lambda: child.ended() or fill(small_disk / "filler"))  # again and again, for the run makes room
    assert child.code == 4, child.output()
    errors = [line for line in child.output().splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert "no space left" in errors[0].lower()
    assert "Traceback" not in child.output()
    assert "Logging error" not in child.output()
    read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert not list(folder.rglob("*.tmp"))
    (small_disk / "filler").unlink()
    epoch = read_checkpoint(folder / "checkpoints" / "last.ckpt")["epoch"]
    assert gradloop.train([f"resume={folder}", f"trainer.max_epochs={epoch + 2}"])["status"] == "completed"


def test_free_space_is_checked_before_training(small_disk: Path) -> None:
    with pytest.raises(CheckpointError, match=r"MiB free on this disk; the checkpoints need"):
        gradloop.train(
            ["data=digits", "model.hidden_dims=[4000]", "trainer.max_epochs=1", f"output_dir={small_disk}"]
        )
    assert not list(small_disk.rglob("*.ckpt"))


@pytest.mark.slow
def test_eight_runs_at_once_have_eight_folders(tmp_path: Path) -> None:
    command = [*QUICK, "trainer.max_epochs=2", "callbacks.progress=null", f"output_dir={tmp_path}"]
    children = [Child(command, tmp_path / f"log{n}") for n in range(8)]
    assert [child.wait(timeout=120) for child in children] == [0] * 8
    folders = list((tmp_path / "train").iterdir())
    assert len(folders) == 8
    assert all(len(list(folder.glob("*/events*"))) >= 1 for folder in folders)
    assert {record(folder)["folder"] for folder in folders} == {str(folder) for folder in folders}


@pytest.mark.slow
def test_a_second_process_is_refused_and_a_dead_one_is_not_waited_for(tmp_path: Path) -> None:
    child = Child([*ENDLESS, f"output_dir={tmp_path}"], tmp_path / "log")
    until(started(tmp_path))
    folder = only_run(tmp_path)
    with pytest.raises(CheckpointError, match=f"process {child.pid} on .* is working on this run"):
        gradloop.train([f"resume={folder}"])
    child.signal(signal.SIGKILL)
    child.wait()
    epoch = read_checkpoint(folder / "checkpoints" / "last.ckpt")["epoch"]
    assert gradloop.train([f"resume={folder}", f"trainer.max_epochs={epoch + 2}"])["status"] == "completed"


def test_divergence_stops_within_the_step_and_keeps_finite_weights(tmp_path: Path) -> None:
    child = Child([*QUICK, "optimizer=sgd", "optimizer.lr=1e30", "trainer.max_epochs=50", f"output_dir={tmp_path}"],
                  tmp_path / "log")  # fmt: skip
    code = child.wait()
    assert code == 5, child.output()
    assert "diverged at step" in child.output()
    assert " in weight" in child.output()  # the layer
    folder = only_run(tmp_path)
    assert record(folder)["status"] == "diverged"
    saved = list((folder / "checkpoints").glob("*.ckpt"))
    assert saved
    for path in saved:
        assert all(torch.isfinite(weight).all() for weight in read_checkpoint(path)["state_dict"].values())
