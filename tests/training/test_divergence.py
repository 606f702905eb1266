"""Training that diverges stops within the step, keeps what was finite, and says where."""

from __future__ import annotations

import functools
import json
import re
import textwrap

import pytest
import torch

import gradloop
from gradloop.errors import DivergedError
from small_runs import QUIET

EXPLODING = ["data=linear_regression", "model=linear", "optimizer=sgd", "optimizer.lr=1000.0", "seed=0"]


@pytest.mark.parametrize("loop", ["several steps", "lightning's own"])
def test_a_loss_that_explodes(train, tmp_path, loop):
    own = ["trainer.gradient_clip_val=1e30"] if loop == "lightning's own" else []
    with pytest.raises(DivergedError, match=r"diverged at step \d+ .*optimizer.lr than 1000") as error:
        train(*EXPLODING, *own, "trainer.max_epochs=100")
    assert error.value.exit_code == 5
    folder = next((tmp_path / "train").iterdir())
    record = json.loads((folder / "summary.json").read_text())
    assert record["status"] == "diverged"
    assert record["exit_code"] == 5
    assert record["reason"] == str(error.value)
    for path in (folder / "checkpoints").glob("*.ckpt"):
        weights = torch.load(path, weights_only=True)["state_dict"]
        assert all(bool(torch.isfinite(weight).all()) for weight in weights.values()), path
    assert all(bool(torch.isfinite(w).all()) for w in gradloop.load(folder).state_dict().values())
    assert record["best"]["value"] is not None


def test_an_infinite_gradient_names_its_layer(train, monkeypatch, tmp_path):
    from gradloop.networks.simple_nn import SimpleNN

    build = SimpleNN.__init__

    @functools.wraps(build)
    def poisoned(network, **knobs):
        build(network, **knobs)
        network[2].weight.register_hook(lambda gradient: gradient * float("inf"))

    monkeypatch.setattr(SimpleNN, "__init__", poisoned)
    with pytest.raises(DivergedError, match=r"diverged at step 0 \(epoch 1\): gradients are not finite, .*2\.weight"):
        train("trainer.max_epochs=1", "seed=0")


def test_the_step_that_diverges_is_not_taken(train, tmp_path):
    """The weights kept are those before the step: the loss they give is finite."""
    with pytest.raises(DivergedError):
        train(*EXPLODING, "trainer.max_epochs=100")
    module = gradloop.load(next((tmp_path / "train").iterdir()), checkpoint="best")
    assert torch.isfinite(module(torch.ones(1, 1))).all()


def test_a_run_that_learns_is_left_alone(train):
    assert train("trainer.max_epochs=2", "seed=0")["status"] == "completed"


SLOWLY = [*QUIET, "data=linear_regression", "model=linear", "optimizer=sgd", "trainer.max_epochs=8", "logger=none"]


def test_a_loss_that_grew_and_stayed_finite_is_no_silent_success(command, tmp_path):
    ended = command(*SLOWLY, "optimizer.lr=0.9")
    assert ended.code == 0, ended.err
    (line,) = [line for line in ended.out.splitlines() if line.startswith("warning: ")]
    assert re.search(
        r"train/loss grew [\d,.e+]+-fold, from .* in epoch 1 to .* in epoch 8; .*optimizer.lr than 0.9", line
    )
    record = json.loads(next((tmp_path / "here").rglob("summary.json")).read_text())
    assert record["status"] == "completed"
    assert line == f"warning: {record['warning']}"


def test_a_sweep_says_whose_loss_grew(command, tmp_path):
    ended = command("-m", *SLOWLY, "optimizer.lr=0.9,0.01")
    assert ended.code == 0, ended.err
    board = next((tmp_path / "here").rglob("leaderboard.md")).read_text()
    assert "\n  warning: train/loss grew" in ended.out
    assert "\nrun 0 warning: train/loss grew" in ended.out
    assert "- run 0: train/loss grew" in board
    assert "run 1: train/loss grew" not in board


NETWORKS = """
    import torch

    class Poisoned(torch.nn.Linear):
        def __init__(self, *, in_features, out_features):
            super().__init__(in_features, out_features)
            torch.nn.init.constant_(self.bias, float("nan"))

    class Huge(torch.nn.Linear):
        def __init__(self, *, in_features, out_features):
            super().__init__(in_features, out_features)
            torch.nn.init.constant_(self.weight, 1e30)
"""


@pytest.mark.parametrize(
    ("network", "words"),
    [("Poisoned", "weights in bias are not finite"), ("Huge", "loss is inf, the largest weight is 1e+30 in weight")],
)
def test_what_is_broken_before_the_first_step_is_not_the_learning_rates_fault(
    network, words, command, tmp_path, monkeypatch
):
    (tmp_path / "own_networks.py").write_text(textwrap.dedent(NETWORKS))
    monkeypatch.syspath_prepend(str(tmp_path))
    ended = command(*SLOWLY, f"model._target_=own_networks.{network}", "allow=[own_networks]")
    assert ended.code == 5
    assert ended.err.count("\n") == 1
    assert "diverged at step 0" in ended.err
    assert words in ended.err
    assert "a smaller optimizer.lr can't help" in ended.err
    assert "initial weights" in ended.err
