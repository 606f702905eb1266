"""Going on with a run: with more epochs, with what may change, from nothing. (How exactly: tests/resume.)"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.errors import CheckpointError, ConfigError
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.record import read_record
from processes import Child, until

TINY = ["data=linear_regression", "model=linear", "seed=0", "trainer.max_epochs=3", "callbacks.progress=null",
        "callbacks.curves=null", "logger=none", "callbacks.tensorboard=null"]  # fmt: skip


def test_more_epochs_continue_a_finished_run(tmp_path: Path) -> None:
    root = f"output_dir={tmp_path}"
    longer = gradloop.train(
        [*[o for o in TINY if "max_epochs" not in o], "trainer.max_epochs=5", root, "name=longer"]
    )
    short = gradloop.train([*TINY, root])
    with pytest.raises(ConfigError, match=r"finished.*max_epochs"):
        gradloop.train([f"resume={short['folder']}"])
    resumed = gradloop.train([f"resume={short['folder']}", "trainer.max_epochs=5"])
    assert resumed["folder"] == short["folder"]
    assert resumed["metrics"] == longer["metrics"]
    assert resumed["epochs"] == 5


def test_changed_config_is_refused_key_by_key(tmp_path: Path) -> None:
    run = gradloop.train([*TINY, f"output_dir={tmp_path}"])
    with pytest.raises(ConfigError, match=r"optimizer\.lr: 0\.001 -> 0\.5"):
        gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=5", "optimizer.lr=0.5"])
    with pytest.raises(ConfigError, match=r"optimizer\._target_: torch.optim.Adam -> torch.optim.SGD"):
        gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=5", "optimizer=sgd"])


def test_resume_last_takes_the_newest_run(tmp_path: Path) -> None:
    root = f"output_dir={tmp_path}"
    gradloop.train([*TINY, root, "name=older"])
    newer = gradloop.train([*TINY, root, "name=newer"])
    resumed = gradloop.train(["resume=last", root, "trainer.max_epochs=4"])
    assert resumed["folder"] == newer["folder"]


def test_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run folder"):
        gradloop.train([f"resume={tmp_path / 'nowhere'}"])
    with pytest.raises(CheckpointError, match="no run"):
        gradloop.train(["resume=last", f"output_dir={tmp_path}"])
    run = gradloop.train([*TINY, f"output_dir={tmp_path}"])
    for name in ("last.ckpt", "previous.ckpt"):
        (Path(run["folder"]) / "checkpoints" / name).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="no checkpoint to resume from, and the run is finished"):
        gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=9"])


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path: Path) -> None:
    whole = gradloop.train([*TINY, f"output_dir={tmp_path}", "name=whole"])
    slow = [*TINY, f"output_dir={tmp_path}", "allow=[sleepy]", "+callbacks.sleepy._target_=sleepy.Sleepy"]
    (tmp_path / "sleepy.py").write_text(
        "import os, time, lightning.pytorch as pl\n"
        "class Sleepy(pl.Callback):\n"
        "    def on_train_epoch_end(self, *_): time.sleep(60 if 'SLEEPY' in os.environ else 0)\n"
    )
    child = Child(slow, tmp_path / "log", {"SLEEPY": "1"}, path=tmp_path)
    until(lambda: len(list(tmp_path.glob("train/*/summary.json"))) == 2)
    child.signal(signal.SIGKILL)
    child.wait()
    again = Child(["resume=last", f"output_dir={tmp_path}", "allow=[sleepy]"], tmp_path / "log", path=tmp_path)
    assert again.wait() == 0, again.output()
    assert "was stopped before its first checkpoint: starting over" in again.output()
    folder = max((tmp_path / "train").iterdir(), key=lambda path: path.stat().st_mtime)
    assert read_record(folder)["metrics"] == whole["metrics"]


def test_the_seconds_of_fitting_add_up(tmp_path: Path) -> None:
    run = gradloop.train([*TINY, f"output_dir={tmp_path}"])
    last = Path(run["folder"]) / "checkpoints" / "last.ckpt"
    saved = read_checkpoint(last)
    assert 0 < saved["gradloop"]["seconds"] <= run["durations"]["fit"]
    saved["gradloop"]["seconds"] = 1000.0  # as if it had trained that long
    torch.save(saved, last)
    durations = gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=5"])["durations"]
    assert 1000 < durations["fit"] < 1060
    assert durations["total"] < 60
    assert 1000 < read_checkpoint(last)["gradloop"]["seconds"] <= durations["fit"]
