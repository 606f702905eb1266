"""A LightningModule of one's own is saved, tested and gone on with as by Lightning, whenever it makes its layers."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.errors import ConfigError, RunInterrupted
from gradloop.runs.checkpoint_files import read_checkpoint

TOY = ["data=digits", "trainer.max_epochs=2", "logger=none", "callbacks.progress=null", "callbacks.curves=null"]
ALLOW = "allow=[own_layers,own_callbacks]"


def train(name: str, folder: Path, *more: str) -> dict:
    return gradloop.train(
        [*TOY, "seed=1", f"module._target_=own_layers.{name}", ALLOW, f"hydra.run.dir={folder}", *more]
    )


@pytest.mark.parametrize("name", ["FromCheckpoint", "InSetup", "InConfigureModel", "Partial"])
def test_what_is_evaluated_is_what_was_trained(name, tmp_path, command):
    record = train(name, tmp_path / "run")
    assert record["metrics"]["test_acc"] > 0.5
    ended = command(f"run={tmp_path / 'run'}", ALLOW, program="evaluate")
    assert ended.code == 0, ended.err
    (line,) = (line for line in ended.out.splitlines() if "test_acc" in line)
    assert line.endswith("as in training")


def test_layers_that_only_a_trainer_makes_are_not_loaded_without_one(tmp_path):
    train("InSetup", tmp_path / "run")
    with pytest.raises(gradloop.errors.CheckpointError, match=r"no layer holds net\.1\.\w+; those of `setup`"):
        gradloop.load(tmp_path / "run", allow=("own_layers",))


@pytest.mark.parametrize(
    "name",
    ["ByHand", *(pytest.param(n, marks=pytest.mark.slow) for n in ("FromCheckpoint", "InSetup", "InConfigureModel"))],
)
def test_a_stopped_run_goes_on_to_the_bit(name, tmp_path, monkeypatch):
    stop = "+callbacks.stop._target_=own_callbacks.StopInBatch"
    whole = train(name, tmp_path / "whole", stop)
    monkeypatch.setenv("STOP_AT", f"{signal.SIGTERM.value} 50")
    with pytest.raises(RunInterrupted):
        train(name, tmp_path / "cut", stop)
    monkeypatch.delenv("STOP_AT")
    record = gradloop.train([f"resume={tmp_path / 'cut'}", ALLOW])
    assert record["metrics"] == whole["metrics"]
    one, other = (read_checkpoint(tmp_path / which / "checkpoints" / "last.ckpt") for which in ("whole", "cut"))
    assert one["lr_schedulers"] == other["lr_schedulers"]
    assert one["gradloop"]["history"] == other["gradloop"]["history"]
    assert all(torch.equal(one["state_dict"][key], weight) for key, weight in other["state_dict"].items())


@pytest.mark.filterwarnings("ignore:.training_step. returned .None.")
def test_a_step_that_forgets_its_loss_is_told_of(tmp_path):
    with pytest.raises(ConfigError, match=r"module: NoReturn\.training_step returns no loss: nothing trains"):
        train("NoReturn", tmp_path / "run")


@pytest.mark.slow
def test_it_runs_with_several_seeds(tmp_path, command, monkeypatch):
    kit = str(Path(__file__).parents[1] / "kit")
    monkeypatch.setenv("PYTHONPATH", kit, prepend=":")
    ended = command("-m", *TOY, "seeds=2", "module._target_=own_layers.Digits", ALLOW, "hydra.sweep.dir=s")
    assert ended.code == 0, ended.err + ended.out
    assert "2 completed" in ended.out
