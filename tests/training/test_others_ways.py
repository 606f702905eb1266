"""What networks, data and resumed runs of others do that gradloop's own do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import gradloop
from gradloop.errors import ConfigError
from gradloop.runs.history import read_history

QUICK = ["trainer.max_epochs=2", "logger=none", "callbacks.curves=null", "seed=0"]
OWN = """
import lightning.pytorch as pl
import torch
from torch import nn
from gradloop.data.batches import Split
from gradloop.data.data_module import DataModule

class InPlace(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], num_outputs)

    def forward(self, x):
        x.sub_(1.0)
        return self.layer(x)

class NoteTargets(pl.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        with open("targets.txt", "a") as file:
            file.write("".join(map(str, batch[1].tolist())) + "\\n")

class InPlaceStep(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(20, 2)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_mean", batch[0].sub_(1.0).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

class Maps(DataModule):
    input_shape, target_shape, num_outputs, task = (3, 8, 8), (3, 8, 8), 3, "regression"

    def load(self):
        x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        return {"train": Split(x[:20], x[:20]), "val": Split(x[20:30], x[20:30]), "test": Split(x[30:], x[30:])}

class Identity(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.layer(x)
"""

DEFAULTS = """
import torch
from gradloop.data.batches import Split
from gradloop.data.data_module import DataModule

class Noise(DataModule):
    input_shape, num_outputs = (3,), 1

    def __init__(self, *, samples=50, val_fraction=0.5, task="regression", **knobs):
        super().__init__(**knobs)
        self.samples, self.task = samples, task

    def load(self):
        inputs = torch.randn(self.samples, 3)
        return dict.fromkeys(("train", "val", "test"), Split(inputs, inputs.sum(1, keepdim=True)))
"""
HANDED = """
import lightning.pytorch as pl
import torch

class Lit(pl.LightningModule):
    def __init__(self, model, optimizer, scheduler):
        super().__init__()
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler

    def training_step(self, batch, index):
        loss = torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])
        self.log("loss", loss, on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self):
        optimizer = self.optimizer(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer, T_max=2)}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "others.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*overrides: str) -> dict:
    return gradloop.train([*QUICK, *overrides])


def test_a_network_that_works_in_place_leaves_the_data_alone(here):
    frozen = ["optimizer.lr=1e-12", "trainer.max_epochs=3", "data=synthetic_classification"]
    run = train(*frozen, "model._target_=others.InPlace")
    rows = Path(run["folder"]) / "checkpoints" / "last.ckpt"
    history = torch.load(rows, weights_only=True)["gradloop"]["history"]
    assert history[0]["val/loss"] == pytest.approx(history[-1]["val/loss"], rel=1e-6)


def test_an_own_module_that_works_in_place_leaves_the_data_alone(here):
    given = ["data=synthetic_classification", "module._target_=others.InPlaceStep", "monitor=val_mean"]
    given.append("monitor_mode=min")
    run = train(*given, "callbacks.curves._target_=gradloop.callbacks.curves.Curves")
    rows = read_history(Path(run["folder"]))
    assert rows[0]["val_mean"] == pytest.approx(rows[-1]["val_mean"], rel=1e-6)


def test_maps_are_not_averaged_over_views(here):
    given = ["data._target_=others.Maps", "data.batch_size=8", "model._target_=others.Identity", "loss=mse"]
    with pytest.raises(ConfigError, match="test_time_flip=True: the answers are maps"):
        train(*given, "test_time_flip=true")
    assert train(*given)["status"] == "completed"


def test_targets_are_not_rounded_with_the_inputs(here):
    (here / "t.csv").write_text("x,y\n" + "".join(f"{k / 7},{1000.5 + k}\n" for k in range(80)))
    given = ["data=csv", f"data.file={here / 't.csv'}", "data.target=y", "data.batch_size=8", "data.task=regression"]
    run = train(*given, "trainer.precision=bf16-true")
    from gradloop.commands.evaluate import run as evaluate

    evaluate([f"run={run['folder']}", "predictions=true"], None, "evaluate")
    lines = (Path(run["folder"]) / "predictions.csv").read_text().splitlines()
    assert all(float(line.split(",")[1]) % 1 == 0.5 for line in lines[1:])


def test_a_run_that_its_time_ended_goes_on_with_more_time(here):
    run = train("data=digits", "trainer.max_epochs=100000", "trainer.max_time=00:00:00:02")
    assert run["status"] == "completed"
    more = gradloop.train([f"resume={run['folder']}", "trainer.max_time=00:00:00:03"])
    assert more["epochs"] > run["epochs"]
    with pytest.raises(ConfigError, match="give more"):
        gradloop.train([f"resume={run['folder']}", "trainer.max_time=00:00:00:03"])
    with pytest.raises(ConfigError, match=r"trainer.max_time=00:00:00:03: the run has trained for \d s; give more"):
        gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=200000"])


def test_a_run_goes_on_with_as_many_processes_and_steps(here):
    run = train("data=digits")
    with pytest.raises(ConfigError, match=r"trainer.devices: 1 -> 2"):
        gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=3", "trainer.devices=2"])
    with pytest.raises(ConfigError, match=r"trainer.max_steps=3: the run has trained for \d+ already"):
        gradloop.train([f"resume={run['folder']}", "trainer.max_steps=3"])


def test_pictures_that_stay_on_disk_are_overfitted(here):
    for name, low in (("cat", 0), ("dog", 120)):
        (here / "pics" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (8, 8), (low + number,) * 3).save(here / "pics" / name / f"{number}.png")
    folder = [
        "data=image_folder",
        f"data.root={here / 'pics'}",
        f"data.cache_dir={here / 'cache'}",
        "model=simple_nn",
    ]
    run = train(*folder, "data.in_memory=false", "data.batch_size=8", "debug=overfit", "trainer.max_epochs=2",
                "+callbacks.note._target_=others.NoteTargets")  # fmt: skip
    assert run["status"] == "completed"
    seen = (here / "targets.txt").read_text().split()
    assert len(seen) == 2  # of two epochs
    assert seen[0] == seen[1]
    assert set(seen[0]) == {"0", "1"}  # not the first class alone


def test_batches_of_one_are_refused_for_batch_norm(here):
    with pytest.raises(ConfigError, match=r"data.batch_size=1: a batch has one sample"):
        train("data=digits", "model=resnet9", "model.width=4", "data.batch_size=1")


def test_the_second_lesson_takes_any_network_that_is_a_line(here):
    line = ["experiment=lesson/2_training_loop", "model=simple_nn", "model.hidden_dims=[]"]
    run = gradloop.train([*line, "trainer.max_epochs=2"])
    assert (Path(run["folder"]) / "lesson.png").is_file()


def test_the_first_lesson_shows_the_first_weights_after_a_stop_too(here):
    run = gradloop.train(["experiment=lesson/1_autograd", "trainer.max_epochs=2"])
    last = Path(run["folder"]) / "checkpoints" / "last.ckpt"
    before = torch.load(last, weights_only=True)["callbacks"]
    gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=3"])
    after = torch.load(last, weights_only=True)["callbacks"]
    (name,) = [key for key in before if "Autograd" in key]
    assert before[name] == after[name]
    assert before[name]["gradients"]


def test_weights_of_torchvision_fit_its_networks(here):
    given = ["data=digits", "model=torchvision", "model.name=resnet18"]
    import torchvision

    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), here / "resnet18.pth")
    began = train(*given, "init_from=resnet18.pth", "trainer.limit_train_batches=1", "trainer.max_epochs=1")[
        "init_from"
    ]
    assert began["taken"] > 100
    assert json.dumps(began)


def test_clipping_goes_with_mixed_precision(here):
    record = gradloop.train([*QUICK, "data=digits", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1"])
    assert record["status"] == "completed"


def test_own_data_keeps_its_defaults(here):
    (here / "my_defaults.py").write_text(DEFAULTS)
    record = gradloop.train([*QUICK, "data._target_=my_defaults.Noise", "data.batch_size=8", "allow=[my_defaults]"])
    assert record["data"]["samples"]["train"] == 50
    assert record["task"] == "regression"


@pytest.mark.filterwarnings("ignore:.*no `validation_step`.*")
def test_own_modules_are_handed_network_and_schedule(here):
    (here / "my_handed.py").write_text(HANDED)
    handed = [f"module.{name}='${{{name}}}'" for name in ("model", "optimizer", "scheduler")]
    own = ["module._target_=my_handed.Lit", *(line.replace("'", "") for line in handed), "allow=[my_handed]"]
    record = gradloop.train([*QUICK, "data=digits", "model.hidden_dims=[7]", "scheduler=cosine", *own])
    assert record["model"]["parameters"] == 64 * 7 + 7 + 70 + 10


def test_a_time_limit_by_name_can_be_raised(here):
    run = gradloop.train([*QUICK, "data=digits", "trainer.max_time={minutes:10}"])
    again = gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=3", "trainer.max_time={minutes:20}"])
    assert again["epochs"] == 3
