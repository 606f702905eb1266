"""A LightningModule of one's own: other projects' modules, unchanged, as runs like any other."""

from __future__ import annotations

import csv
import json
import shlex
import signal
from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.runs.checkpoint_files import read_checkpoint
from one_line import assert_one_line

PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau"
TEMPLATE = [
    "module._target_=own_lightning.DigitsLitModule",
    "+module.net._target_=own_lightning.SimpleDenseNet",
    "+module.optimizer={_target_:torch.optim.Adam,_partial_:true,lr:0.003}",
    f"+module.scheduler={{_target_:{PLATEAU},_partial_:true,patience:0,threshold:0.5}}",
    "allow=[own_lightning]",
]
GAN = ["module._target_=own_lightning.GAN"]
AUTOENCODER = ["module._target_=own_lightning.LitAutoEncoder"]
QUICK = ["seed=1", "data=digits", "trainer.max_epochs=2", "logger=none", "callbacks.progress=null"]
pytestmark = pytest.mark.filterwarnings("ignore:.*is already saved during checkpointing.*")


def rows(folder: str) -> list[dict[str, str]]:
    with open(Path(folder) / "metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> dict:
    torch.set_num_threads(1)
    return gradloop.train([*TEMPLATE, *QUICK, f"output_dir={tmp_path_factory.mktemp('whole')}"])


def test_the_templates_module_is_a_run_like_any_other(template):
    assert template["status"] == "completed"
    assert template["resume"] == "exact"
    assert template["monitor"] == {"metric": "val/loss", "mode": "min"}
    assert {"train/acc", "val/acc_best", "test/acc"} <= template["metrics"].keys()
    assert template["metrics"]["test/acc"] > 0.8
    table = rows(template["folder"])
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert {"step", "lr", "train/loss", "train/raw_loss", "val/acc"} <= table[0].keys()
    assert not any(name.endswith(("_step", "_epoch")) for name in table[0])


def test_it_ends_with_a_command_that_is_done_for_it(command):
    quick = [line for line in QUICK if "max_epochs" not in line]
    ended = command(*TEMPLATE, *quick, "trainer.max_epochs=1", "callbacks.tensorboard=null")
    assert ended.code == 0, ended.err
    (line,) = (line for line in ended.out.splitlines() if line.startswith("next: "))
    program, *words = shlex.split(line.removeprefix("next: gradloop-"))
    assert program == "evaluate"
    assert "own_lightning" in words[1]
    again = command(*words, program=program)
    assert again.code == 0, again.err


def test_it_comes_back(template, command):
    ended = command(f"run={template['folder']}", "allow=[own_lightning]", program="evaluate")
    assert ended.code == 0, ended.err
    assert ended.out.count("as in training") == 2, ended.out
    module = gradloop.load(template["folder"], allow=("own_lightning",))
    assert type(module).__name__ == "DigitsLitModule"
    assert not module.training
    assert module(torch.zeros(2, 64)).shape == (2, 10)
    foreign = ("allow=[own_lightning]", f"run={template['folder']}")
    assert_one_line(command(*foreign, program="explain"), 2, ["own_lightning.DigitsLitModule", "no task"])
    assert_one_line(command(*foreign, "predictions=true", program="evaluate"), 2, ["predictions=True", "no task"])
    assert_one_line(command(foreign[1], program="evaluate"), 2, ["own_lightning", "allow"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "stops"),
    [(TEMPLATE, (5, 36, 44)), ([*TEMPLATE, "trainer.accumulate_grad_batches=3"], (7,)), (GAN, (6, 36))],
    ids=["template", "accumulated", "manual"],
)
@pytest.mark.filterwarnings("ignore:You passed in a .val_dataloader")
def test_a_stopped_run_ends_as_if_it_had_not_been(module, stops, tmp_path, template, monkeypatch):
    """After so many batches: within an epoch, and after its last batch, before its validation."""
    one = gradloop.train([*module, *QUICK, f"output_dir={tmp_path}"]) if module is not TEMPLATE else template
    whole = content(one)
    for number, after in enumerate(stops):
        folder = tmp_path / f"stopped_{number}"
        monkeypatch.setenv("STOP_AT", f"{signal.SIGTERM.value} {after}")
        stop = "+callbacks.stop._target_=own_callbacks.StopInBatch"
        with pytest.raises(gradloop.errors.RunInterrupted):
            gradloop.train([*module, *QUICK, stop, "allow=[own_lightning,own_callbacks]", f"hydra.run.dir={folder}"])
        monkeypatch.delenv("STOP_AT")
        record = gradloop.train([f"resume={folder}", "allow=[own_lightning,own_callbacks]"])
        assert record["metrics"] == one["metrics"]
        assert (folder / "metrics.csv").read_text() == (Path(one["folder"]) / "metrics.csv").read_text()
        torch.testing.assert_close(content(record), whole, rtol=0, atol=0)


def content(record: dict) -> dict:
    checkpoint = read_checkpoint(Path(record["folder"]) / "checkpoints" / "last.ckpt")
    return {name: checkpoint[name] for name in ("state_dict", "optimizer_states")}


def test_foreign_loaders_train_it_too(tmp_path, monkeypatch):
    quick = [line for line in QUICK if not line.startswith("data=")]
    data = "data._target_=own_lightning.DigitsDataModule"
    record = gradloop.train([*TEMPLATE, *quick, data, f"output_dir={tmp_path}"])
    assert record["resume"].startswith("by Lightning")
    assert record["metrics"]["test/acc"] > 0.8
    again = gradloop.train([f"resume={record['folder']}", "trainer.max_epochs=3", "allow=[own_lightning]"])
    assert len(rows(again["folder"])) == 3
    record = gradloop.train([*AUTOENCODER, *quick, "data._target_=own_lightning.loaders", f"output_dir={tmp_path}"])
    assert record["monitor"]["metric"] == "val_loss"
    assert record["metrics"].keys() == {"train_loss", "val_loss"}


def test_a_sweep_ranks_them(tmp_path, command, monkeypatch):
    kit = str(Path(__file__).parents[1] / "kit")
    monkeypatch.syspath_prepend(kit)
    monkeypatch.setenv("PYTHONPATH", kit, prepend=":")
    ended = command("-m", *AUTOENCODER, *QUICK, "+module.lr=1e-3,1e-2", "hydra.sweep.dir=s")
    assert ended.code == 0, ended.err + ended.out
    assert "2 completed" in ended.out
    with open(tmp_path / "here" / "s" / "leaderboard.csv") as file:
        table = list(csv.DictReader(file))
    assert "val_loss" in table[0]
    assert [row["module.lr"] for row in table] == ["0.01", "0.001"]


@pytest.mark.filterwarnings("ignore:You passed in a .val_dataloader")
def test_a_monitor_is_whatever_it_logs(tmp_path, command):
    record = gradloop.train([*GAN, *QUICK, "monitor=d_loss", "monitor_mode=max", f"output_dir={tmp_path}"])
    assert record["monitor"] == {"metric": "d_loss", "mode": "max"}
    ended = command(*GAN, *QUICK, "monitor=d_los")
    assert ended.code == 2
    assert "error: monitor=d_los: GAN never logs it; there are g_loss, d_loss; did you mean 'd_loss'?" in ended.err
    failed = json.loads(next((tmp_path / "here").rglob("summary.json")).read_text())
    assert failed["status"] == "failed"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{GAN[0]} optimizer.lr=1", ["optimizer.lr=1", "own_lightning.GAN", "its own optimizer", "${optimizer}"]),
        (f"{GAN[0]} model=linear", ["model=linear", "its own model"]),
        (f"{GAN[0]} epoch_metrics=[f1]", ["epoch_metrics", "own_lightning.GAN"]),
        (f"{GAN[0]} callbacks=ema", ["callbacks.ema", "EMA"]),
        (f"{GAN[0]} callbacks=throughput", ["callbacks.throughput", "Throughput"]),
        (f"{GAN[0]} trainer.gradient_clip_val=1", ["trainer.gradient_clip_val=1", "GAN", "training_step"]),
        (f"{GAN[0]} +module.lrr=1", ["'module.lrr'", "GAN", "'lr'"]),
        ("+module.lr=1", ["'module.lr'", "module._target_"]),
        ("module._target_=own_lightning.SimpleDenseNet", ["module._target_", "a LightningModule"]),
        ("model._target_=own_lightning.GAN", ["model._target_", "module._target_=own_lightning.GAN"]),
        ("data._target_=own_lightning.DigitsDataModule", ["declares nothing", "module._target_"]),
    ],
)
def test_what_it_can_not_have_is_refused(line, words, command, tmp_path):
    assert_one_line(command(*line.split()), 2, words)
    assert not list((tmp_path / "here").iterdir())
