"""Runs of odd losses, numbers, names and own modules are evaluated, explained and compared like others."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

import gradloop
from gradloop.commands.compare import as_sweep
from gradloop.commands.evaluate import run as evaluate
from gradloop.commands.explain import run as explain
from gradloop.config.overrides import quoted
from gradloop.errors import GradloopError
from gradloop.runs.history import read_history
from gradloop.sweeps.results.leaderboard import leaderboard

QUICK = ["trainer.max_epochs=2", "logger=none", "callbacks.curves=null", "seed=0"]
OWN = """
import torch

def masked(outputs, targets):
    known = targets > 0
    return (outputs[known] - targets[known]).abs().mean() if known.any() else outputs.sum() * 0
"""
LIT = """
import torch
import lightning.pytorch as pl

class Lit(pl.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.layer, self.lr = torch.nn.Linear(20, 2), lr

    def _step(self, batch, name):
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log(f"{name}_loss", loss, on_epoch=True, on_step=False)
        if name == "test":
            self.log("test_acc", (self.layer(batch[0]).argmax(1) == batch[1]).float().mean())
        return loss

    def training_step(self, batch, index):
        return self._step(batch, "train")

    def validation_step(self, batch, index):
        self._step(batch, "val")

    def test_step(self, batch, index):
        self._step(batch, "test")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_losses.py").write_text(OWN)
    (tmp_path / "my_lit.py").write_text(LIT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*overrides: str) -> Path:
    return Path(gradloop.train([*QUICK, *overrides])["folder"])


def test_a_loss_that_looks_at_values_has_an_interval(here):
    folder = train("data=linear_regression", "loss._target_=my_losses.masked")
    metrics = evaluate([f"run={folder}", "allow=[my_losses]"], None, "evaluate")
    assert "test/mae" in metrics
    assert "test/mae" in json.loads((folder / "evaluation.json").read_text())["intervals"]


@pytest.mark.slow
def test_a_class_without_weight_is_explained(here):
    pytest.importorskip("captum")
    folder = train("data=synthetic_classification", "data.classes=3", "data.informative=4", "loss.weight=[0,1,1]")
    explain([f"run={folder}"], None, "explain")
    assert (folder / "explain" / "most_wrong.png").is_file()


@pytest.mark.parametrize(
    "given",
    [
        ["data=linear_regression", "trainer.precision=64-true"],
        ["data=synthetic_classification", "trainer.precision=64-true", "loss.weight=[1,2]"],
        ["data=digits", "trainer.precision=bf16-true", "loss.weight=balanced"],
        ["data=digits", "trainer.precision=64-true", "callbacks=ema"],
        ["data=digits", "trainer.precision=bf16-true", "callbacks=swa"],
        ["data=digits", "trainer.precision=bf16-true", "callbacks=lr_finder"],
        ["data=linear_regression", "trainer.precision=64-true", "callbacks=lr_finder"],
        ["data=digits", "trainer.precision=bf16-true", "callbacks=lr_finder", "loss.weight=balanced"],
        ["data=digits", "trainer.precision=bf16-true", "callbacks=batch_size_finder"],
        ["data=digits", "trainer.precision=64-true", "callbacks=batch_size_finder", "loss.weight=balanced"],
        ["experiment=lesson/1_autograd", "trainer.precision=64-true", "callbacks.tensorboard.graph=true"],
    ],
    ids=" ".join,
)
def test_other_numbers_than_float32_train_and_are_evaluated(here, given):
    folder = train(*given)
    metrics = evaluate([f"run={folder}"], None, "evaluate")
    trained = json.loads((folder / "summary.json").read_text())["metrics"]
    assert metrics["test/loss"] == pytest.approx(trained["test/loss"], rel=1e-6)


def test_a_run_is_evaluated_with_the_batch_size_that_it_found(here):
    found = [
        "callbacks=batch_size_finder",
        "callbacks.batch_size_finder.max_size=128",
        "trainer.limit_test_batches=1",
    ]
    record = gradloop.train([*QUICK, "data=digits", *found])
    assert "data.batch_size" in record["found"]
    assert evaluate([f"run={record['folder']}"], None, "evaluate")["test/loss"] == record["metrics"]["test/loss"]


def test_what_runs_found_makes_no_settings_of_them(here):
    given = ["data=digits", "callbacks=early_stopping", "callbacks.early_stopping.patience=1", "trainer.max_epochs=9"]
    runs = [train(*given, f"optimizer.lr={rate}", f"seed={seed}") for rate in (0.01, 0.1) for seed in (1, 2, 3)]
    assert [len(row.jobs) for row in leaderboard(as_sweep(runs)[0]).rows] == [3, 3]


@pytest.mark.parametrize(("metric", "mode"), [("test_RMSE", "min"), ("val_Loss", "min"), ("test_acc", "max")])
def test_a_comparison_guesses_the_direction_as_training_does(here, metric, mode):
    runs = [train("data=digits", f"seed={seed}") for seed in (1, 2)]
    for run in runs:
        record = json.loads((run / "summary.json").read_text())
        record["metrics"][metric] = 0.5
        (run / "summary.json").write_text(json.dumps(record))
    assert as_sweep(runs, metric=metric)[0].mode == mode


def test_a_comparison_overwrites_nothing_of_others(here, command):
    runs = [str(train("data=digits", f"seed={seed}", f"output_dir={here}")) for seed in (1, 2)]
    mine = here / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("mine")
    ended = command(*runs, "--out", str(mine), program="compare")
    assert (ended.code, (mine / "README.md").read_text()) == (2, "mine")
    assert "there is a README.md that is no comparison's" in ended.err
    assert command(*runs, "--out", str(here / "new"), program="compare").code == 0
    assert command(*runs, "--out", str(here / "new"), program="compare").code == 0


def test_a_failed_export_leaves_the_one_before(here, monkeypatch):
    pytest.importorskip("safetensors")
    from gradloop.reports import export

    folder = train("data=digits")
    evaluate([f"run={folder}", "export=safetensors"], None, "evaluate")
    before = (folder / "export" / "model.safetensors").read_bytes()
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(GradloopError, match="nothing was written"):
        evaluate([f"run={folder}", "export=safetensors"], None, "evaluate")
    assert (folder / "export" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_names_that_are_no_utf8_are_kept(here, in_memory):
    for name, low in ((b"caf\xe9", 0), (b"th\xe9", 120)):
        folder = bytes(here) + b"/pictures/" + name
        Path(folder.decode(errors="surrogateescape")).mkdir(parents=True)
        for number in range(12):
            path = Path(folder.decode(errors="surrogateescape")) / f"{number}.png"
            Image.new("RGB", (8, 8), (low + number,) * 3).save(path)
    root = [f"data.root={here / 'pictures'}", f"data.cache_dir={here / 'cache'}", f"data.in_memory={in_memory}"]
    folder = train("data=image_folder", *root, "model=simple_nn", "data.batch_size=8")
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
    assert evaluate([f"run={folder}"], None, "evaluate")


def test_lightnings_names_have_curves_and_columns(here):
    varied = ["module._target_=my_lit.Lit", "module.lr=0.01,0.1", "seed=1,2", "monitor=val_loss"]
    rows = gradloop.sweep([*varied, "trainer.max_epochs=2", "logger=none"])
    assert all("test_acc" in row for row in rows.rows)
    from gradloop.sweeps.results.curves import mean_curves
    from gradloop.sweeps.sweep_folder import read_sweep

    board = leaderboard(read_sweep(Path(rows.folder)))
    assert {"train/loss", "val/loss"} <= mean_curves(board, board.rows[0]).keys()
    assert "val_loss" in read_history(Path(rows.folder) / "0")[0]


def test_probabilities_that_are_no_numbers_leave_an_explanation_that_can_be_read(here, capsys):
    run = Path(gradloop.train("data.samples=100", "trainer.max_epochs=1", seed=0)["folder"])
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    next(value for name, value in content["state_dict"].items() if name.endswith("bias"))[0] = torch.nan
    torch.save(content, path)
    explain([f"run={run}"], None, "explain")
    assert "expected calibration error unknown: some of the probabilities" in capsys.readouterr().out

    def refuse(word: str) -> None:
        raise ValueError(word)

    text = (run / "explain" / "explain.json").read_text()
    assert json.loads(text, parse_constant=refuse)["ece"] is None


def test_an_explanation_of_own_rows_removes_only_what_one_wrote_before(here):
    run = Path(gradloop.train("data.samples=100", "data.features=4", "trainer.max_epochs=1", seed=0)["folder"])
    (run / "explain" / "inputs_of_mine").mkdir(parents=True)
    for name in ("inputs_maps_3.png", "inputs_mine.csv"):
        (run / "explain" / name).touch()
    (here / "new.csv").write_text("x0,x1,x2,x3\n1,2,3,4\n")
    explain([f"run={run}", "explain.inputs=new.csv"], None, "explain")
    there = sorted(path.name for path in (run / "explain").glob("inputs_*"))
    assert there == ["inputs_attributions.csv", "inputs_attributions.png", "inputs_mine.csv", "inputs_of_mine"]


def test_what_is_printed_and_written_can_be_pasted_anywhere(here, capsys):
    run = gradloop.train("data.samples=100", "trainer.max_epochs=1", **{"hydra.run.dir": "it's"})
    assert f"tensorboard --logdir {shlex.quote(run['folder'])}" in capsys.readouterr().out
    explain(["run=" + quoted("it's")], None, "explain")
    assert "tensorboard --logdir " + shlex.quote("it's") in capsys.readouterr().out
    assert f"gradloop.load({run['folder']!r})" in (here / "it's" / "README.md").read_text()
