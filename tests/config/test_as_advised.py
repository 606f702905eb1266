"""What an error line advises works, and what is typed counts."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
import yaml

import gradloop
from gradloop.commands.list import listed
from gradloop.config.compose import compose_config
from small_runs import QUIET, train

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self, input_shape, num_outputs, depth=1):
        super().__init__()
        layers = [torch.nn.Linear(input_shape[0], input_shape[0]) for _ in range(depth)]
        self.layers = torch.nn.Sequential(*layers, torch.nn.Linear(input_shape[0], num_outputs))

    def forward(self, x):
        return self.layers(x)

def nll_loss(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets)

def scaled(x, by):
    return x * by

def loss(outputs, targets, smoothing=0.0):
    return torch.nn.functional.cross_entropy(outputs, targets, label_smoothing=smoothing)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "advised.py").write_text(NET)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "net.yaml").write_text("_target_: advised.Net\ndepth: 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_to_name_a_class_that_its_own_file_names_keeps_that_file_s_knobs(command, own: Path) -> None:
    ended = command(
        "--config-dir=conf", "model=net", "model._target_=advised.Net", *QUIET, "trainer.max_epochs=1",
        "hydra.run.dir=run", "logger=none",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert yaml.safe_load((own / "run/.hydra/config.yaml").read_text())["model"]["depth"] == 3


def test_an_own_loss_may_be_called_as_one_of_torch_s(own: Path) -> None:
    record = train(own, "data=digits", "trainer.max_epochs=1", "loss._target_=advised.nll_loss", "allow=[advised]")
    assert record["status"] == "completed"


def test_a_rate_is_found_for_an_optimizer_that_the_command_names(tmp_path: Path) -> None:
    record = train(
        tmp_path,
        "data=digits",
        "optimizer._target_=torch.optim.RMSprop",
        "callbacks=lr_finder",
        "trainer.max_epochs=1",
    )
    assert 1e-6 < record["found"]["optimizer.lr"] < 1


@pytest.mark.parametrize("line", ["augmentation=none", "debug=overfit"])
def test_no_augmentation_is_left_of_an_experiment_s(line: str) -> None:
    config, _ = compose_config(["experiment=cifar10_fast", line])
    assert config.augmentation == compose_config(["data=cifar10"])[0].augmentation


def test_runs_are_listed_by_a_name_that_is_a_number(tmp_path: Path) -> None:
    train(tmp_path, "data=digits", "trainer.max_epochs=1", "name=2024")
    train(tmp_path, "data=digits", "trainer.max_epochs=1", "name=other")
    values = {"output_dir": str(tmp_path), "name": 2024, "status": None, "tags": []}
    rows, _ = listed(tmp_path, values)
    assert [row[1] for row in rows] == ["2024"]


def test_two_partials_of_one_function_stay_two(own: Path) -> None:
    import advised

    options = [*QUIET, "data=digits", "trainer.max_epochs=1", f"output_dir={own}"]
    first = gradloop.train(options, loss=functools.partial(advised.loss, smoothing=0.3))
    gradloop.train(options, loss=functools.partial(advised.loss, smoothing=0.0))
    module = gradloop.load(first["folder"])
    outputs, targets = torch.randn(8, 10), torch.arange(8)
    assert torch.equal(module.loss(outputs, targets), advised.loss(outputs, targets, 0.3))


def test_two_objects_that_look_alike_stay_two(own: Path) -> None:
    options = [*QUIET, "data=digits", "trainer.max_epochs=1", f"output_dir={own}"]
    first = gradloop.train(options, loss=torch.nn.CrossEntropyLoss(label_smoothing=0.3))
    gradloop.train(options, loss=torch.nn.CrossEntropyLoss())
    assert gradloop.load(first["folder"]).loss.label_smoothing == 0.3


def test_a_package_may_be_allowed_by_its_name_alone(own: Path) -> None:
    record = train(own, "data=digits", "trainer.max_epochs=1", "loss._target_=advised.nll_loss", "allow=[advised]")
    assert gradloop.load(record["folder"], allow="advised") is not None


def test_a_wrong_word_of_an_option_has_no_hint_to_the_option(command) -> None:
    assert "did you mean" not in command("--cfg", "jobs").err
