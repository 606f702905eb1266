"""Averaged weights: what they are, and that training does not notice them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.training.saved_run import open_run
from small_runs import assert_equal, train, weights


@pytest.mark.slow
def test_a_finished_run_with_averaged_weights_goes_on_from_the_trained_ones(tmp_path: Path) -> None:
    options = ["data=digits", "callbacks=ema"]
    whole = train(tmp_path, *options, "trainer.max_epochs=4")
    half = train(tmp_path, *options, "trainer.max_epochs=2")
    resumed = gradloop.train([f"resume={half['folder']}", "trainer.max_epochs=4"])
    assert_equal(weights(resumed), weights(whole))


def test_swa_keeps_the_mean_over_the_ends_of_the_last_epochs(tmp_path: Path) -> None:
    options = ["data=digits", "optimizer=sgd", "monitor=val/loss"]
    ends = [weights(train(tmp_path, *options, f"trainer.max_epochs={n}")) for n in (3, 4)]
    averaged = train(tmp_path, *options, "trainer.max_epochs=4", "callbacks=swa", "callbacks.swa.start=0.5")
    mean = {name: (ends[0][name] + ends[1][name]) / 2 for name in ends[0]}
    assert_equal(weights(averaged), mean, rtol=1e-5, atol=1e-6)
    loaded = gradloop.load(averaged["folder"], checkpoint="last")
    assert_equal(dict(loaded.state_dict()), mean, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_before_swa_begins_the_trained_weights_are_validated(tmp_path: Path) -> None:
    options = ["data=digits", "trainer.max_epochs=2"]
    plain = train(tmp_path, *options)
    late = train(tmp_path, *options, "callbacks=swa", "callbacks.swa.start=0.9")
    assert late["metrics"] == plain["metrics"]


@pytest.mark.parametrize("callback", ["ema", "swa"])
def test_averages_of_a_network_with_batch_norm(tmp_path: Path, callback: str) -> None:
    options = ["data=digits", "model=resnet9", "model.width=4", f"callbacks={callback}"]
    record = train(tmp_path, *options, "trainer.max_epochs=2", "data.batch_size=64")
    saved = read_checkpoint(Path(record["folder"]) / "checkpoints" / "last.ckpt")
    trained, averaged = saved["current_model_state"], saved["state_dict"]
    statistics = [name for name in trained if name.endswith(("running_mean", "running_var"))]
    counters = [name for name in trained if name.endswith("num_batches_tracked")]
    assert statistics
    assert counters
    assert all(torch.isfinite(averaged[name]).all() for name in statistics)
    if callback == "ema":
        assert not any(torch.equal(trained[name], averaged[name]) for name in statistics)
        assert all(torch.equal(trained[name], averaged[name]) for name in counters)


def test_ema_of_a_short_run_follows_the_weights(tmp_path: Path) -> None:
    options = ["data=digits", "trainer.max_epochs=3", "optimizer.lr=0.01"]
    averaged, plain = train(tmp_path, *options, "callbacks=ema"), train(tmp_path, *options)
    assert averaged["metrics"]["train/loss"] == plain["metrics"]["train/loss"]  # training itself is the same
    assert averaged["metrics"]["val/loss"] < 1.2 * plain["metrics"]["val/loss"]
    assert averaged["metrics"]["val/loss"] != plain["metrics"]["val/loss"]


class Tied(torch.nn.Sequential):
    """Two layers with one weight."""

    def __init__(self, input_shape, num_outputs):
        first, second = torch.nn.Linear(20, 20), torch.nn.Linear(20, 20)
        second.weight = first.weight
        super().__init__(first, torch.nn.ReLU(), second, torch.nn.Linear(20, num_outputs))


def test_tied_weights_are_validated_as_they_are_kept(tmp_path: Path) -> None:
    run = gradloop.train(
        ["trainer.max_epochs=3", "callbacks=ema", "seed=0", "logger=none", f"output_dir={tmp_path}"], model=Tied
    )
    saved = open_run(run["folder"], allow=("test_averaging.Tied",))
    module, data = saved.module(), saved.data()
    data.setup("fit")
    with torch.no_grad():
        loss = float(module.loss(module(data.splits["val"].inputs), data.splits["val"].targets))
    assert loss == pytest.approx(run["metrics"]["val/loss"], rel=1e-5)
