"""Callbacks, modules and objects that would be taken and not do what they say; code that ends the program."""

from __future__ import annotations

import json
import os

import pytest
import torch

import gradloop
from gradloop.errors import ConfigError

LIGHTNINGS = "+callbacks.x._target_=lightning.pytorch.callbacks."
OWN = (
    "data=digits", "module._target_=own_lightning.DigitsLitModule",
    "+module.net._target_=own_lightning.SimpleDenseNet",
    "+module.optimizer={_target_:torch.optim.Adam,_partial_:true}", "+module.scheduler=null",
)  # fmt: skip
RATED = """
import lightning, torch
from torch.nn import functional
class Rated(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.lr, self.net = 1e-3, torch.nn.Linear(64, 10)
    def training_step(self, batch, index):
        loss = functional.cross_entropy(self.net(batch[0].flatten(1)), batch[1])
        self.log("train/loss", loss, on_epoch=True)
        return loss
    def validation_step(self, batch, index):
        self.log("val/loss", functional.cross_entropy(self.net(batch[0].flatten(1)), batch[1]))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((f"{LIGHTNINGS}BatchSizeFinder",), "here take callbacks=batch_size_finder"),
        ((f"{LIGHTNINGS}BackboneFinetuning",), "here take callbacks=freeze"),
        ((*OWN, f"{LIGHTNINGS}BatchSizeFinder"), "give data.batch_size=…"),
        ((f"{LIGHTNINGS}ModelPruning", "+callbacks.x.pruning_fn=l1_unstructured"), "prune when the run has ended"),
        (("+trainer.limit_predict_batches=3",), "trainer.limit_predict_batches=3"),
    ],
)
def test_what_would_not_be_done_is_refused_before_anything_is_created(arguments, said, command, tmp_path):
    ended = command("trainer.max_epochs=1", *arguments)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert said in ended.err
    assert list((tmp_path / "here").iterdir()) == []


def test_a_module_with_loaders_of_its_own_is_refused(tmp_path, command, monkeypatch):
    (tmp_path / "mine_loads.py").write_text(
        "from own_lightning import DigitsLitModule\n"
        "class Loads(DigitsLitModule):\n    def train_dataloader(self):\n        return []\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    ended = command("module._target_=mine_loads.Loads", *(line for line in OWN if "DigitsLit" not in line))
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert "its train_dataloader would not be asked" in ended.err


def test_a_callback_that_turns_the_loops_knobs_is_told_so(command):
    ended = command("data=digits", "trainer.max_epochs=1", "+callbacks.x._target_=own_callbacks.Accumulates")
    assert ended.code == 2
    assert "takes from the config alone" in ended.err


@pytest.mark.parametrize(
    ("how", "code", "status"), [("interrupt", 130, "interrupted"), (0, 1, "failed"), (7, 1, "failed")]
)
def test_own_code_that_ends_the_program_ends_its_run(how, code, status, command, tmp_path):
    ends = "+callbacks.x._target_=own_callbacks.EndsProgram", f"+callbacks.x.how={how}"
    ended = command("data=digits", "trainer.max_epochs=2", "logger=none", *ends)
    assert ended.code == code, ended.err
    assert ended.err.startswith("error: ")
    record = json.loads(next((tmp_path / "here").rglob("summary.json")).read_text())
    assert (record["status"], record["exit_code"]) == (status, code)


def test_the_rate_that_was_found_is_gone_on_with(command, tmp_path):
    (tmp_path / "here" / "rated.py").write_text(RATED)
    finder = f"{LIGHTNINGS}LearningRateFinder", "+callbacks.x.num_training_steps=25"
    asked = "data=digits", "module._target_=rated.Rated", "monitor=train/loss", "seed=0", "logger=none", *finder
    assert command(*asked, "trainer.max_epochs=1").code == 0
    assert command("resume=last", "trainer.max_epochs=2", "allow=[rated]").code == 0
    (table,) = (tmp_path / "here").rglob("metrics.csv")
    header, *rows = [line.split(",") for line in table.read_text().splitlines()]
    rates = [row[header.index("lr")] for row in rows]
    assert len(rates) == 2
    assert rates[0] == rates[1] != "0.001"


def test_a_trainer_is_no_object_to_give():
    with pytest.raises(ConfigError, match=r"trainer=…\): a run makes its own"):
        gradloop.train("data=digits", trainer=object())


def test_the_callers_switches_are_as_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    quick = ["data=digits", "trainer.max_epochs=1", "logger=none"]
    gradloop.train([*quick, "trainer.deterministic=true"])
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    torch.use_deterministic_algorithms(True)
    try:
        gradloop.train(quick)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
