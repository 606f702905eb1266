"""Each optional callback is one override away, on every data set."""

from __future__ import annotations

import csv
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import gradloop
from gradloop.callbacks.divergence import Divergence
from gradloop.callbacks.gradients import Gradients
from gradloop.callbacks.lr_finder import LearningRateFinder
from gradloop.config.compose import compose_config
from gradloop.config.conf_folder import conf_folder
from gradloop.errors import ConfigError, RunInterrupted
from small_runs import assert_equal, train, weights

DATA = ["digits", "synthetic_classification", "linear_regression"]
CORE = set(OmegaConf.load(conf_folder() / "callbacks" / "core" / "default.yaml"))


@pytest.fixture(autouse=True)
def _few_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing where nobody looks: drawing takes longer than these trainings."""
    if "each_works" not in request.node.name:
        monkeypatch.setattr(Gradients, "draw", lambda *_: None)
        monkeypatch.setattr(LearningRateFinder, "draw", lambda *_: None)


def curve(record: dict[str, Any]) -> dict[str, list[float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(Path(record["folder"]) / "tensorboard"))
    events.Reload()
    # the tenth file that a process writes within a second stands before its ninth
    by_step = {tag: sorted(events.Scalars(tag), key=lambda event: event.step) for tag in events.Tags()["scalars"]}
    return {tag: [event.value for event in found] for tag, found in by_step.items()}


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], CORE),
        (["callbacks=ema"], CORE | {"ema"}),
        (["callbacks=[ema,throughput]"], CORE | {"ema", "throughput"}),
        (["callbacks=none"], set()),
        (["callbacks=[none,ema]"], {"ema"}),
        (["callbacks=none", "debug=gradcheck"], {"gradcheck"}),
    ],
)
def test_callbacks_are_chosen_alone_and_together(overrides: list[str], names: set[str]) -> None:
    config, _ = compose_config(overrides)
    assert set(config.callbacks) == names


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(
    "callbacks",
    [
        pytest.param("[lr_finder,batch_size_finder,swa]", marks=pytest.mark.slow),
        "[ema,throughput,freeze,gradients,early_stopping]",
    ],
)
def test_each_works_with_each_data_set(callbacks: str, data: str, tmp_path: Path) -> None:
    options = [f"callbacks={callbacks}", f"data={data}", "trainer.max_epochs=2"]
    if "batch_size_finder" in callbacks:
        options.append("callbacks.batch_size_finder.max_size=8")
    record = train(tmp_path, *options)
    assert record["status"] == "completed"
    folder = Path(record["folder"])
    assert not list(folder.glob(".*.ckpt"))  # the finders' own checkpoints are gone
    assert (folder / "lr_finder.png").exists() == ("lr_finder" in callbacks)
    assert (folder / "gradients.png").exists() == ("gradients" in callbacks)


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        ("sgd", "one_cycle"),
        pytest.param("adam", "constant", marks=pytest.mark.slow),
        pytest.param("adamw", "cosine", marks=pytest.mark.slow),
        pytest.param("sgd", "step", marks=pytest.mark.slow),
    ],
)
def test_training_uses_the_rate_that_was_found_and_nothing_else_of_the_search(
    optimizer: str, scheduler: str, tmp_path: Path
) -> None:
    options = ["data=digits", "trainer.max_epochs=2", f"optimizer={optimizer}", f"scheduler={scheduler}"]
    found = train(tmp_path, "callbacks=lr_finder", "callbacks.lr_finder.steps=40", *options)
    rate = found["found"]["optimizer.lr"]
    assert 1e-3 < rate < 1
    given = train(tmp_path, f"optimizer.lr={rate}", *options)
    assert_equal(weights(found), weights(given), rtol=1e-4, atol=1e-5)
    assert found["metrics"]["val/loss"] == pytest.approx(given["metrics"]["val/loss"], abs=1e-4)


@pytest.mark.slow
def test_training_uses_the_batch_size_that_was_found(tmp_path: Path) -> None:
    options = ["data=digits", "trainer.max_epochs=3", "scheduler=one_cycle"]
    limits = ["callbacks.batch_size_finder.init_size=100", "callbacks.batch_size_finder.max_size=300"]
    found = train(tmp_path, "callbacks=batch_size_finder", *limits, *options)
    assert found["found"] == {"data.batch_size": 300}
    assert_equal(weights(found), weights(train(tmp_path, "data.batch_size=300", *options)))


def test_the_batch_size_of_a_table_smaller_than_a_usual_batch_is_found(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("y,x\n" + "".join(f"{'ab'[k % 2]},{k}\n" for k in range(60)))
    data = ["data=csv", f"data.file={tmp_path}/few.csv", "data.target=y"]
    record = train(tmp_path, *data, "callbacks=batch_size_finder", "trainer.max_epochs=1")
    assert record["found"]["data.batch_size"] == record["data"]["samples"]["train"]


def test_the_throughput_of_an_epoch_that_is_cut_short_is_logged(tmp_path: Path) -> None:
    record = train(tmp_path, "callbacks=throughput", "logger=csv", "trainer.max_steps=15")
    (logged,) = Path(record["folder"]).glob("csv/*/metrics.csv")
    with logged.open() as lines:
        assert any(float(row["throughput/device/samples_per_sec"] or 0) > 0 for row in csv.DictReader(lines))


@pytest.mark.slow
def test_the_batch_size_ends_at_the_data(tmp_path: Path) -> None:
    record = train(
        tmp_path,
        "data=digits",
        "callbacks=batch_size_finder",
        "trainer.max_epochs=1",
        "callbacks.batch_size_finder.init_size=512",
    )
    assert record["found"] == {"data.batch_size": record["data"]["samples"]["train"]}


@pytest.mark.slow
def test_the_batch_size_is_found_before_the_learning_rate(tmp_path: Path) -> None:
    options = ["data=digits", "trainer.max_epochs=2"]
    limit = ["callbacks.batch_size_finder.init_size=64", "callbacks.batch_size_finder.max_size=128"]
    both = train(tmp_path, "callbacks=[lr_finder,batch_size_finder]", *limit, *options)
    assert both["found"]["data.batch_size"] == 128
    rate = train(tmp_path, "callbacks=lr_finder", "data.batch_size=128", *options)
    assert both["found"]["optimizer.lr"] == pytest.approx(rate["found"]["optimizer.lr"])


@pytest.mark.parametrize(
    "callbacks",
    ["[ema,freeze]", "[swa,gradients]", pytest.param("[lr_finder,batch_size_finder]", marks=pytest.mark.slow)],
)
def test_a_stopped_run_goes_on_bit_for_bit(callbacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["data=digits", f"callbacks={callbacks}", "scheduler=cosine", "trainer.max_epochs=4"]
    if "swa" in callbacks:
        options += ["callbacks.swa.start=0.3", "callbacks.gradients.every_n_steps=7"]
    if "batch_size_finder" in callbacks:
        options += ["callbacks.batch_size_finder.init_size=32", "callbacks.batch_size_finder.max_size=64"]
    if "freeze" in callbacks:
        options.append("callbacks.freeze.until_epoch=1")
    whole = train(tmp_path, *options)

    def stop(callback: Divergence, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Divergence, "on_train_epoch_end", stop)
        with pytest.raises(RunInterrupted):
            train(tmp_path, *options)
    (folder,) = {p.parent for p in (tmp_path / "train").glob("*/summary.json")} - {Path(whole["folder"])}
    resumed = gradloop.train([f"resume={folder}"])
    assert resumed["metrics"] == whole["metrics"]
    assert resumed.get("found") == whole.get("found")
    assert_equal(weights(resumed), weights(whole))
    assert_equal(weights(resumed, "best"), weights(whole, "best"))
    if "gradients" in callbacks:
        assert curve(resumed) == curve(whole)


def test_frozen_layers_stay_until_their_epoch(tmp_path: Path) -> None:
    options = ["data=digits", "model.hidden_dims=[16,16]", "callbacks=freeze", "callbacks.freeze.until_epoch=2"]
    runs = [weights(train(tmp_path, *options, f"trainer.max_epochs={n}")) for n in (1, 2, 3)]
    moved = [{name for name in runs[0] if not torch.equal(a[name], b[name])} for a, b in pairwise(runs)]
    head = {name for name in runs[0] if name.startswith("network.5.")}
    assert moved == [head, set(runs[0])]


def test_layers_may_be_frozen_later_and_by_name(tmp_path: Path) -> None:
    options = ["data=digits", "model.hidden_dims=[16,16]", "callbacks=freeze", "callbacks.freeze.layers=['1','3*']"]
    options += ["callbacks.freeze.from_epoch=1", "callbacks.freeze.until_epoch=null"]
    runs = [weights(train(tmp_path, *options, f"trainer.max_epochs={n}")) for n in (1, 2)]
    stayed = {name for name in runs[0] if torch.equal(runs[0][name], runs[1][name])}
    assert stayed == {name for name in runs[0] if name.startswith(("network.1.", "network.3."))} != set()
    with pytest.raises(ConfigError, match=r"callbacks.freeze.layers=stem: the network has no such layer; there are "):
        train(tmp_path, *options, "callbacks.freeze.layers=[stem]")


def test_throughput_is_in_tensorboard(tmp_path: Path) -> None:
    curves = curve(train(tmp_path, "data=digits", "callbacks=throughput", "trainer.max_epochs=2"))
    assert {"throughput/samples_per_sec", "throughput/flops_per_sec"} <= {
        tag.replace("/device", "") for tag in curves if tag.startswith("throughput/")
    }
    assert all(value > 0 for tag, values in curves.items() if tag.startswith("throughput/") for value in values)


@pytest.mark.parametrize(
    "override",
    [
        "callbacks=ema callbacks.ema.decay=1.5",
        "callbacks=swa callbacks.swa.start=1",
        "callbacks=lr_finder callbacks.lr_finder.min_lr=2",
        "callbacks=batch_size_finder callbacks.batch_size_finder.mode=fast",
        "callbacks=gradients callbacks.gradients.every_n_steps=0",
    ],
)
def test_a_wrong_knob_is_named_and_nothing_is_created(override: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=override.split()[1].split("=")[0]):
        train(tmp_path, *override.split())
    assert not list(tmp_path.iterdir())
