"""Gradient norms, update ratios and dead ReLUs, against what can be computed by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

import gradloop
from gradloop.callbacks.gradients import Gradients
from gradloop.runs.checkpoint_files import read_checkpoint

QUIET = [
    "seed=0", *(f"callbacks.{name}=null" for name in ("tensorboard", "progress", "curves")), "callbacks=gradients",
]  # fmt: skip


def train(folder: Path, *overrides: str) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Return the run's record and the rows that the callback measured."""
    record = gradloop.train([*QUIET, f"output_dir={folder}", *overrides])
    states = read_checkpoint(Path(record["folder"]) / "checkpoints" / "last.ckpt")["callbacks"]
    return record, next(state["rows"] for name, state in states.items() if name.startswith("Gradients"))


def test_sgd_s_update_is_the_rate_times_the_gradient(tmp_path: Path) -> None:
    _, rows = train(
        tmp_path, "data=linear_regression", "model=linear", "optimizer=sgd", "optimizer.lr=0.01",
        "trainer.max_epochs=9", "callbacks.gradients.every_n_steps=4",
    )  # fmt: skip
    assert [row["step"] for row in rows] == [0, 4, 8]
    torch.manual_seed(0)
    layer = torch.nn.Linear(1, 1)
    first = torch.cat([w.detach().flatten() for w in layer.parameters()]).norm().item()
    assert rows[0]["update_ratio/Linear"] == pytest.approx(0.01 * rows[0]["gradient_norm/Linear"] / first, rel=1e-3)


def test_measuring_changes_nothing_and_both_loops_measure_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gradients, "draw", lambda *_: None)
    options = ["data=digits", "trainer.max_epochs=2", "callbacks.gradients.every_n_steps=10"]
    record, rows = train(tmp_path, *options, "trainer.gradient_clip_val=1e9")  # lets Lightning's own loop run
    reference, expected = train(tmp_path, *options)
    for row, other in zip(rows, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    plain = gradloop.train([*QUIET[:-1], f"output_dir={tmp_path}", *options[:2]])
    assert record["metrics"] == pytest.approx(plain["metrics"])
    assert reference["metrics"] == plain["metrics"]
    assert reference["signature"] == plain["signature"]


def test_a_step_of_accumulated_batches_is_measured_once(tmp_path: Path) -> None:
    options = ["data=digits", "trainer.max_epochs=1", "callbacks.gradients.every_n_steps=1"]
    record, rows = train(tmp_path, *options, "trainer.accumulate_grad_batches=2")
    batches = -(-record["data"]["samples"]["train"] // 32)
    assert [row["step"] for row in rows] == list(range(batches // 2))
    assert all(row["update_ratio/1"] > 0 for row in rows)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3, 3)])
def test_a_relu_is_dead_where_the_whole_batch_is_zero(shape: tuple[int, ...]) -> None:
    gradients = Gradients(every_n_steps=1)
    inputs = -torch.ones(shape)
    inputs[2, 1] = 1.0  # one sample keeps one unit alive
    module: Any = SimpleNamespace(network=torch.nn.Sequential(torch.nn.ReLU()), loop=SimpleNamespace(step=0))
    gradients.on_train_start(pl.Trainer(logger=False, enable_checkpointing=False), module)
    module.network(inputs)
    assert float(gradients.dead["0"]) == 0.75


def test_the_picture_and_the_curves_are_there(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record, _ = train(tmp_path, "data=digits", "trainer.max_epochs=1", "callbacks.gradients.every_n_steps=5")
    folder = Path(record["folder"])
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"gradient_norm/1", "update_ratio/3", "dead_relu/2"} <= tags
    assert "gradients" in events.Tags()["images"]
    assert (folder / "gradients.png").stat().st_size > 10_000


def test_a_frozen_layer_is_measured_while_it_is_trained(tmp_path: Path) -> None:
    freeze = ["callbacks=[gradients,freeze]", "callbacks.freeze.from_epoch=1", "callbacks.freeze.until_epoch=2"]
    quiet = [line for line in QUIET if line != "callbacks=gradients"]
    every = ["callbacks.gradients.every_n_steps=1", "trainer.max_epochs=3", f"output_dir={tmp_path}"]
    record = gradloop.train([*quiet, *freeze, *every])
    last = read_checkpoint(Path(record["folder"]) / "checkpoints" / "last.ckpt")
    rows = last["callbacks"]["Gradients"]["rows"]
    (hidden,) = {name for row in rows for name in row if name.startswith("gradient_norm/")} - {
        name for row in rows if 20 <= row["step"] < 40 for name in row
    }
    assert [row["step"] for row in rows if hidden in row] == [*range(20), *range(40, 60)]


def test_units_of_a_sequence_are_its_last_dimension(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.copy_(torch.tensor([1.0, -1.0, -1.0, -1.0]))
    callback = Gradients(every_n_steps=1)
    callback.on_train_start(SimpleNamespace(), SimpleNamespace(network=module, loop=SimpleNamespace(step=0)))
    module(torch.rand(2, 5, 3))
    assert {name: float(share) for name, share in callback.dead.items()} == {"1": 0.75}
