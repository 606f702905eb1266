"""Epochs that follow each other in one turn, and those that Lightning ends one by one, are the same.

So are the steps of an optimizer that is given all weights side by side, and of one that is not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import gradloop
from gradloop.callbacks.hook import Hook
from gradloop.data.synthetic_classification import SyntheticClassification
from gradloop.errors import ConfigError
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.history import read_history
from gradloop.training.loop.epochs import Epochs

DIGITS = ["data=digits", "data.batch_size=512", "model.hidden_dims=[8]", "optimizer.lr=0.01", "trainer.max_epochs=9"]
CLASSES = ["experiment=synthetic_classification", "trainer.max_epochs=12", "data.shuffle=true"]


class Watching(pl.Callback):
    """A stranger's callback that has to see each epoch's end where Lightning has it."""

    seen: ClassVar[list[tuple[int, int]]] = []

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.seen.append((trainer.current_epoch, trainer.global_step))


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=linear_regression", "trainer.max_epochs=150"],
        [*CLASSES, "callbacks=[ema,gradients]", "scheduler=cosine", "model.dropout=0.2"],
        [*CLASSES, "scheduler=plateau", "scheduler.patience=0", "trainer.check_val_every_n_epoch=2"],
        [*CLASSES, "trainer.accumulate_grad_batches=3", "trainer.max_steps=41", "callbacks=swa"],
        [*CLASSES, "data.validate_on_test=false", "trainer.limit_val_batches=1", "trainer.limit_train_batches=7"],
        [*CLASSES, "trainer.limit_val_batches=0", "trainer.gradient_clip_val=0.1", "scheduler=step"],
        DIGITS,
        [
            *CLASSES,
            "optimizer=adam",
            "optimizer.weight_decay=0.1",
            "optimizer.groups={bias:{weight_decay:0,lr:0.01}}",
        ],
        [*CLASSES, "optimizer=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true", "scheduler=one_cycle"],
        [*CLASSES, "trainer.gradient_clip_val=0.1", "model.hidden_dims=[8,8,8]", "optimizer=adamw"],
    ],
    ids=lambda overrides: " ".join(overrides[-2:]),
)
def test_epochs_are_the_same_in_one_turn_and_one_by_one(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several, following = [], Epochs.next
    monkeypatch.setattr(Epochs, "next", lambda epochs: (several.append(epochs), following(epochs))[1])
    runs = [gradloop.train([*overrides, f"output_dir={tmp_path / 'turns'}", "seed=3"])]
    assert several, "no epoch followed another in one turn"
    several.clear()
    Watching.seen.clear()
    runs.append(gradloop.train([*overrides, f"output_dir={tmp_path / 'each'}", "seed=3"], callbacks=[Watching()]))
    assert not several
    turns, each = (read_history(Path(run["folder"])) for run in runs)
    assert turns == each
    assert Watching.seen == [(row["epoch"] - 1, row["step"]) for row in each]
    assert runs[0]["metrics"] == runs[1]["metrics"]
    assert runs[0]["best"] == runs[1]["best"]
    states = [read_checkpoint(Path(run["folder"]) / "checkpoints" / "last.ckpt") for run in runs]
    for name, weight in states[0]["state_dict"].items():
        assert torch.equal(weight, states[1]["state_dict"][name]), name
    optimizers = [state["optimizer_states"][0] for state in states]
    assert optimizers[0]["param_groups"] == optimizers[1]["param_groups"]
    for number, held in optimizers[1]["state"].items():
        assert held.keys() == optimizers[0]["state"][number].keys()
        assert all(torch.equal(value, optimizers[0]["state"][number][name]) for name, value in held.items()), number
    assert [state["global_step"] for state in states] == [each[-1]["step"]] * 2


def test_own_hooks_see_every_epoch_as_lightning_has_it(tmp_path: Path) -> None:
    class Own(Hook):
        seen: ClassVar[list[tuple[int, int, int]]] = []
        validated: ClassVar[list[bool]] = []

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            self.seen.append((trainer.current_epoch, trainer.global_step, self.loop.step))
            module.log("own/epoch", float(trainer.current_epoch))
            trainer.should_stop = trainer.current_epoch == 8

        def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
            self.validated.append(trainer.validating)

    run = gradloop.train([*CLASSES, f"output_dir={tmp_path}"], callbacks=[Own()])
    assert Own.seen == [(epoch, 25 * (epoch + 1), 25 * (epoch + 1)) for epoch in range(9)]
    assert Own.validated == [True] * 9
    events = EventAccumulator(f"{run['folder']}/tensorboard").Reload()
    assert [event.value for event in events.Scalars("own/epoch")] == list(range(9))


def test_a_profile_ends_the_run_when_its_steps_are_recorded(tmp_path: Path) -> None:
    run = gradloop.train([*CLASSES, "debug=profile", "trainer.max_epochs=500", f"output_dir={tmp_path}"])
    assert run["epochs"] < 10


def test_a_list_of_one_validation_loader_is_lightnings(tmp_path: Path) -> None:
    class Listing(SyntheticClassification):
        def val_dataloader(self) -> Any:
            return [super().val_dataloader()]

    run = gradloop.train([*CLASSES, f"output_dir={tmp_path}"], data=Listing)
    assert run["epochs"] == 12


def test_data_that_see_their_batches_on_the_way_see_each(tmp_path: Path) -> None:
    class Doubled(SyntheticClassification):
        seen: ClassVar[list[int]] = []

        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            self.seen.append(len(batch[1]))
            return 2 * batch[0], batch[1]

    gradloop.train([*CLASSES, "trainer.max_epochs=3", f"output_dir={tmp_path}"], data=Doubled)
    assert Doubled.seen == [*([32] * 25 + [200]) * 3, 200]  # three epochs of training and validation, one test


def test_an_own_train_dataloader_is_refused_where_gradloop_trains(tmp_path: Path) -> None:
    class Loading(SyntheticClassification):
        def train_dataloader(self) -> Any:
            return [(torch.zeros(4, 20), torch.zeros(4, dtype=torch.long))]

    with pytest.raises(ConfigError, match=r"its own train_dataloader says nothing of epoch and batch"):
        gradloop.train([*CLASSES, f"output_dir={tmp_path}"], data=Loading)
    assert not list(tmp_path.iterdir())
