"""A signal at any moment of a command's life ends it with its exit code, or comes too late and changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest

from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.record import read_record
from processes import Child, until
from resume.drawn_stops import differences
from toy_sweep import environment

TOY = ["data=linear_regression", "model=linear", "trainer.max_epochs=3", "seed=0", "threads=1",
       "callbacks.curves=null", "callbacks.tensorboard=null"]  # fmt: skip
BEFORE = ("import", "init", "setup", "on_fit_start", "on_train_start")  # there is nothing to save
TRAINING = ("on_train_epoch_start", "on_validation_start", "on_validation_end",
            "on_validation_epoch_end", "on_train_epoch_end", "on_train_end", "on_fit_end", "on_test_start",
            "on_test_batch_start")  # fmt: skip
OFTEN = ("on_validation_end", "on_test_end")  # tried with every change
TOO_LATE = ("on_test_epoch_end", "on_test_end", "teardown")
# a user's callback that sends the signal at one moment; only the hook it needs is there
CALLBACK = """
import os, signal
import lightning.pytorch as pl

hook, number = os.environ.get("AT", "none 15").split()[0], int(os.environ.get("AT", "none 15").split()[-1])
times = [0]

def send(*_, **more):
    times[0] += 1
    if times[0] == 1:
        os.kill(os.getpid(), number)

class At(pl.Callback):
    def __init__(self):
        if hook == "init":
            send()
    def teardown(self, trainer, module, stage):
        if hook == "teardown" and stage == "test":
            send()

if hook == "import":
    send()
elif hook.startswith(("on_", "setup")):
    setattr(At, hook, send)
"""
AT = ["allow=[at]", "+callbacks.at._target_=at.At"]


def stopped_at(moment: str, number: int, root: Path) -> Child:
    (root / "at.py").write_text(CALLBACK)
    arguments = [*TOY, *AT, f"hydra.run.dir={root / 'run'}"]
    child = Child(arguments, root / "log", {"AT": f"{moment} {number}"}, path=root)
    child.wait()
    return child


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    assert stopped_at("none", 15, root).code == 0
    return root / "run"


MOMENTS = [
    pytest.param(moment, marks=() if moment in OFTEN else pytest.mark.slow)
    for moment in (*BEFORE, *TRAINING, *TOO_LATE)
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_sigterm_at_every_moment(moment: str, whole: Path, tmp_path: Path) -> None:
    child, run = stopped_at(moment, signal.SIGTERM, tmp_path), tmp_path / "run"
    if moment in TOO_LATE:
        assert child.code == 0, child.output()
    else:
        assert child.code == 143, child.output()
        assert child.output().count("error: stopped by SIGTERM") == 1
        assert "Traceback" not in child.output()
        if moment in ("import", "init"):
            assert not run.exists()
            return
        assert read_record(run)["status"] == "interrupted"
        assert (f"resume={run}" in child.output()) == (moment in TRAINING)
        again = Child([f"resume={run}", "allow=[at]"], tmp_path / "again", path=tmp_path)
        assert again.wait() == 0, again.output()
    assert read_record(run)["status"] == "completed"
    assert read_record(run)["metrics"] == read_record(whole)["metrics"]
    ends = [read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (whole, run)]
    assert not differences(ends[0]["state_dict"], ends[1]["state_dict"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "number"),
    [("init", signal.SIGINT), ("on_fit_start", signal.SIGHUP), ("on_validation_end", signal.SIGUSR1)],
)
def test_the_other_signals(moment: str, number: int, tmp_path: Path) -> None:
    child = stopped_at(moment, number, tmp_path)
    assert child.code == 128 + number, child.output()
    assert child.output().count("error: stopped by") == 1
    assert "Traceback" not in child.output()


def test_a_signal_while_the_interpreter_ends_changes_nothing(tmp_path: Path) -> None:
    script = (
        "import atexit, os, sys, gradloop.commands.train\n"
        "atexit.register(os.kill, os.getpid(), {number})\n"
        "sys.argv = ['gradloop-train', {argument!r}]\n"
        "gradloop.commands.train.main()\n"
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        for argument, code in (("--version", 0), ("data=nothing", 2)):
            line = [sys.executable, "-c", script.format(number=int(number), argument=argument)]
            ended = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment())
            assert ended.returncode == code, ended.stderr
            assert "Traceback" not in ended.stderr


def test_evaluating_is_stopped_by_ctrl_c(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning makes exit code 1 of a KeyboardInterrupt."""
    monkeypatch.setattr(pl.LightningModule, "on_test_start", lambda module: os.kill(os.getpid(), signal.SIGINT))
    child = Child([f"run={whole}", "allow=[at]"], tmp_path / "log", path=whole.parent, program="evaluate")
    assert child.wait() == 130, child.output()
    assert child.output() == "error: stopped by Ctrl-C\n"


LOADER = """
import os
import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

class Loader(DataLoader):
    def __iter__(self):
        kind, number = os.environ.get("AT", "none 0").split()
        if kind == "signal":
            os.kill(os.getpid(), int(number))
        if kind == "error":
            raise ValueError("no such shard")
        return super().__iter__()

class Data(pl.LightningDataModule):
    def loader(self, kind=DataLoader):
        return kind(TensorDataset(torch.ones(50, 4), torch.zeros(50, dtype=torch.int64)))
    def train_dataloader(self):
        return self.loader(Loader)
    def test_dataloader(self):
        return self.loader(Loader)

class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
    def training_step(self, batch, index, name="train/loss"):
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log(name, loss)
        return loss
    def test_step(self, batch, index):
        self.training_step(batch, index, "test/loss")
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""


@pytest.mark.parametrize("command", ["train", "resume", "evaluate"])
def test_what_ends_a_loader_while_it_starts_is_what_is_told(command: str, tmp_path: Path) -> None:
    """Lightning asks it for its length while tearing down, which fails in turn: "Please call iter(…) first"."""
    (tmp_path / "shards.py").write_text(LOADER)
    run = tmp_path / "run"
    arguments = ["data._target_=shards.Data", "module._target_=shards.Net", "trainer.max_epochs=1",
                 f"hydra.run.dir={run}"]  # fmt: skip
    if command != "train":
        assert Child(arguments, tmp_path / "whole", path=tmp_path).wait() == 0
        arguments = [f"{'resume' if command == 'resume' else 'run'}={run}", "allow=[shards]"]
        arguments += ["trainer.max_epochs=2"] if command == "resume" else []
    program = "evaluate" if command == "evaluate" else "train"
    for kind, code in ((f"signal {int(signal.SIGTERM)}", 143), ("error 0", 4 if command == "resume" else 1)):
        child = Child(arguments, tmp_path / "log", {"AT": kind}, path=tmp_path, program=program)
        assert child.wait() == code, child.output()
        assert ("stopped by SIGTERM" if code == 143 else "ValueError: no such shard") in child.output()
        assert "Please call" not in child.output()


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.1])
def test_a_signal_while_the_page_is_written_changes_nothing(tmp_path, delay):
    folder = tmp_path / "run"
    child = Child([*TOY, f"hydra.run.dir={folder}"], tmp_path / "log")
    until(lambda: (folder / "summary.json").exists() and read_record(folder)["status"] == "completed")
    child.ended(within=delay)
    child.signal(signal.SIGTERM)
    assert child.wait() == 0, child.output()
    assert (folder / "report.html").is_file()
