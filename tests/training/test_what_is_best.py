"""What is validated, when, and which weights are kept for it."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import gradloop
from gradloop.callbacks.freeze import Freeze
from gradloop.config.check import plain
from gradloop.config.compose import compose_config
from gradloop.errors import ConfigError
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.training.build import Builder
from gradloop.training.meter import Meter
from gradloop.training.optimizing import optimizer_of
from small_runs import train

WATCHER = """
import lightning.pytorch as pl

class Watcher(pl.Callback):
    seen = []
    def on_validation_end(self, trainer, module):
        self.seen.append((trainer.current_epoch, module.loop.batch))
"""


def checkpoint(record: dict[str, Any], name: str) -> dict[str, Any]:
    return read_checkpoint(Path(record["folder"]) / "checkpoints" / f"{name}.ckpt")


def test_an_epoch_is_validated_inside_and_at_its_end_and_never_at_its_start(tmp_path, monkeypatch):
    (tmp_path / "own_watcher.py").write_text(WATCHER)
    monkeypatch.syspath_prepend(tmp_path)
    import own_watcher

    own_watcher.Watcher.seen.clear()
    own = "+callbacks.watcher._target_=own_watcher.Watcher"
    record = train(tmp_path, "trainer.max_epochs=2", "trainer.val_check_interval=0.3", "monitor=val/loss", own)
    places = [batch for epoch, batch in own_watcher.Watcher.seen if epoch == 0]
    assert own_watcher.Watcher.seen == [(epoch, batch) for epoch in range(2) for batch in places]
    assert places == [6, 12, 18, 20]
    best = checkpoint(record, "best")
    module, data = gradloop.load(record["folder"], allow=("own_watcher",)), Builder(())("data", data_values())
    data.setup()
    part = data.splits["val"]
    with torch.no_grad():
        loss = float(module.loss(module(part.inputs), part.targets))
    assert best["gradloop"]["value"] == pytest.approx(loss, rel=1e-5)


def data_values() -> dict[str, Any]:
    values = plain(compose_config(["seed=0"])[0])["data"]
    return {**values, "seed": 0}


def test_only_weights_that_were_validated_are_kept(tmp_path):
    record = train(
        tmp_path, "trainer.max_epochs=6", "trainer.check_val_every_n_epoch=2", "callbacks.checkpoints.save_top_k=3"
    )
    kept = [checkpoint(record, name)["epoch"] + 1 for name in ("best", "best_2", "best_3")]
    assert sorted(kept) == [2, 4, 6]


def test_what_ends_by_steps_before_its_first_validation_is_validated_then(tmp_path):
    short = train(tmp_path, "trainer.max_steps=10", "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2")
    assert short["best"]["value"] > 0
    longer = gradloop.train([f"resume={short['folder']}", "trainer.max_steps=-1"])
    assert math.isfinite(checkpoint(longer, "best")["gradloop"]["value"])
    assert longer["best"]["epoch"] in (2, 4)


def test_what_the_last_step_leaves_is_validated_wherever_in_an_epoch_it_is(tmp_path):
    record = train(tmp_path, "trainer.max_steps=50", "trainer.max_epochs=4")  # two epochs and a half
    kept = checkpoint(record, "last")["gradloop"]["history"]
    assert [row["step"] for row in kept if "val/loss" in row] == [20, 40, 50]


def test_swa_begins_at_its_share_of_the_steps_that_there_will_be(tmp_path):
    steps = ["trainer.max_epochs=1000", "trainer.max_steps=80"]  # four epochs of twenty
    record = train(tmp_path, *steps, "callbacks=swa", "callbacks.swa.start=0.5")
    assert int(checkpoint(record, "last")["averaging_state"]["n_averaged"]) == 2


def test_what_several_processes_would_train_apart_is_refused():
    options: dict[str, Any] = {"layers": None, "train_batch_norm": True}
    trainer: Any = SimpleNamespace(world_size=2)
    with pytest.raises(ConfigError, match="freeze for good"):
        Freeze(**options, from_epoch=0, until_epoch=2).setup(trainer, SimpleNamespace(), "fit")  # type: ignore[arg-type]


@pytest.mark.parametrize(("precision", "fused"), [("16-mixed", False), ("32-true", True)])
def test_a_gradient_scaler_unscales_before_gradients_are_clipped(precision, fused):
    values = plain(compose_config([f"trainer.precision={precision}", "seed=0"])[0])
    network = torch.nn.Linear(2, 2)
    optimizer = optimizer_of(Builder(()), values, network)(network.parameters())
    assert bool(optimizer.defaults["fused"]) == fused


def test_what_an_epoch_has_seen_goes_to_the_device_that_trains():
    meter = Meter()
    meter.add(torch.tensor(1.0), torch.zeros(2, 3), torch.zeros(2))
    meter.to(torch.device("meta"))
    assert {tensor.device.type for tensor in (*meter.losses, *meter.outputs, *meter.targets)} == {"meta"}


def test_a_found_rate_is_that_of_every_group_under_one_cycle(tmp_path):
    found = ["callbacks=lr_finder", "scheduler=one_cycle", "optimizer=sgd", "trainer.max_epochs=2"]
    groups = train(tmp_path, *found, "optimizer.groups={bias:{lr:0.01}}")
    rate = groups["found"]["optimizer.lr"]
    usual = compose_config(["optimizer=sgd"])[0].optimizer.lr
    held = checkpoint(groups, "last")["optimizer_states"][0]["param_groups"]
    assert [group["max_lr"] for group in held] == pytest.approx([rate, 0.01 * rate / usual])
