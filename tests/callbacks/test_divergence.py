"""Training that diverges stops within the step, keeps what was finite, and says where."""

from __future__ import annotations

import functools
import json

import pytest
import torch

import gradloop
from gradloop.errors import DivergedError

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
    with pytest.raises(DivergedError, match=r"diverged at step 0 \(epoch 0\): gradients are not finite, .*2\.weight"):
        train("trainer.max_epochs=1", "seed=0")


def test_the_step_that_diverges_is_not_taken(train, tmp_path):
    """The weights kept are those before the step: the loss they give is finite."""
    with pytest.raises(DivergedError):
        train(*EXPLODING, "trainer.max_epochs=100")
    module = gradloop.load(next((tmp_path / "train").iterdir()), checkpoint="best")
    assert torch.isfinite(module(torch.ones(1, 1))).all()


def test_a_run_that_learns_is_left_alone(train):
    assert train("trainer.max_epochs=2", "seed=0")["status"] == "completed"
