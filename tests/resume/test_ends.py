"""A run that is stopped or killed where its training ends has all that one has that was not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gradloop.errors import ConfigError
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.history import read_history
from gradloop.runs.record import read_record
from processes import Child
from small_runs import QUIET, assert_equal, train, weights

KILLS = """
import math, os, signal
import torch
import lightning.pytorch as pl

class Once(pl.Callback):
    def _once(self, number):
        if not os.path.exists(os.environ["KILLED"]):
            open(os.environ["KILLED"], "w").close()
            os.kill(os.getpid(), number)

class InTest(Once):
    def on_test_start(self, trainer, module):
        self._once(signal.SIGKILL)

class InSecondStart(Once):
    def on_train_start(self, trainer, module):
        if "SECOND" in os.environ:
            self._once(signal.SIGKILL)

class InLastValidation(Once):
    def on_validation_batch_start(self, trainer, *_):
        if trainer.global_step == int(os.environ["STEP"]):
            self._once(signal.SIGTERM)

class Noisy(torch.nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.layer = torch.nn.Linear(math.prod(input_shape), num_outputs)

    def forward(self, x):
        return self.layer(torch.nn.functional.dropout(x.flatten(1), 0.3))  # in evaluation, too

class Counts(pl.Callback):
    def __init__(self):
        self.epochs, self.batches = 0, 0

    def on_train_epoch_start(self, *_):
        self.epochs += 1

    def on_train_batch_start(self, trainer, module, batch, index):
        self.batches += 1
        if self.batches == 50:
            Once._once(self, signal.SIGTERM)

    def state_dict(self):
        return {"epochs": self.epochs, "batches": self.batches}

    def load_state_dict(self, state):
        vars(self).update(state)

class Stops(pl.Callback):
    def on_train_epoch_end(self, trainer, module):
        trainer.should_stop = trainer.current_epoch == 2
"""
DIGITS = ["data=digits", "data.batch_size=32", "trainer.max_epochs=5"]
EARLY = ["callbacks=early_stopping", "callbacks.early_stopping.patience=1"]
LIGHTNING = "+callbacks.es={_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/loss, patience: 1}"


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("InTest", [LIGHTNING, "optimizer.lr=0.1", "trainer.max_epochs=40"]),
        ("InTest", ["+callbacks.own._target_=ends_at.Stops"]),
        ("InTest", ["trainer.max_steps=50"]),
        ("InTest", [*EARLY, "trainer.val_check_interval=0.5", "optimizer.lr=0.1", "trainer.max_epochs=40"]),
        ("InLastValidation", ["trainer.max_steps=50"]),
        ("InLastValidation", ["trainer.max_steps=20"]),
        ("InLastValidation", ["model._target_=ends_at.Noisy"]),
    ],
    ids=["Lightning's", "own", "steps", "inside", "validation", "first", "noisy"],
)  # fmt: skip
def test_stopped_at_the_end(kind: str, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ends_at.py").write_text(KILLS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("KILLED", os.devnull)
    steps = next((line.partition("=")[2] for line in asked if "max_steps" in line), "36")
    monkeypatch.setenv("STEP", steps)
    given = [*DIGITS, *asked, f"+callbacks.kill._target_=ends_at.{kind}", "allow=[ends_at]"]
    whole = train(tmp_path / "whole", *given)
    folder, killed = tmp_path / "run", {"KILLED": str(tmp_path / "killed"), "STEP": steps}

    def command(*arguments: str) -> int:
        return Child([*arguments, "allow=[ends_at]"], tmp_path / "log", killed, path=tmp_path).wait()

    assert command(*QUIET, *given[:-1], f"hydra.run.dir={folder}") != 0
    assert (tmp_path / "killed").exists()
    assert command(f"resume={folder}") == 0, (tmp_path / "log").read_text()
    record = read_record(folder)
    for key in ("epochs", "metrics", "best"):
        assert record[key] == whole[key], key
    assert record.get("found") == whole.get("found")
    assert read_history(folder) == read_history(Path(whole["folder"]))
    assert_equal(weights({"folder": folder}), weights(whole))


def test_a_longer_run_that_was_killed_before_its_first_save_is_still_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_at.py").write_text(KILLS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("KILLED", str(tmp_path / "killed"))
    kill = ["+callbacks.kill._target_=ends_at.InSecondStart", "allow=[ends_at]"]
    run = train(tmp_path, "data=digits", "trainer.max_epochs=2", *kill)
    again, second = [f"resume={run['folder']}", "allow=[ends_at]"], {"SECOND": "1"}
    log = tmp_path / "log"
    assert Child([*again, "trainer.max_epochs=4"], log, second, path=tmp_path).wait() == -9
    assert Child(again, log, second, path=tmp_path).wait() == 0, log.read_text()
    assert read_record(Path(run["folder"]))["epochs"] == 4


def test_what_a_run_began_with_stays_in_its_record(tmp_path: Path) -> None:
    first = train(tmp_path, "data=digits", "trainer.max_epochs=1")
    begun = ["data=digits", "trainer.max_epochs=1", f"init_from={first['folder']}"]
    second = train(tmp_path, *begun)
    again = train(tmp_path, f"resume={second['folder']}", "trainer.max_epochs=2")
    assert again["init_from"] == second["init_from"]
    # killed, it has no moment to write it down
    (tmp_path / "ends_at.py").write_text(KILLS)
    folder, killed = tmp_path / "run", {"KILLED": str(tmp_path / "killed")}
    kill = ["+callbacks.kill._target_=ends_at.InTest", f"hydra.run.dir={folder}"]
    for line, code in (([*QUIET, *begun, *kill], -9), ([f"resume={folder}"], 0)):
        assert Child([*line, "allow=[ends_at]"], tmp_path / "log", killed, path=tmp_path).wait() == code
    assert read_record(folder)["init_from"] == second["init_from"]


def test_an_average_that_was_planned_for_a_length_is_not_made_longer(tmp_path: Path) -> None:
    run = train(tmp_path, "data=digits", "callbacks=swa", "trainer.max_epochs=2")
    with pytest.raises(ConfigError, match=r"callbacks\.swa\.start, the whole run's"):
        train(tmp_path, f"resume={run['folder']}", "trainer.max_epochs=4")


def test_an_epoch_that_is_gone_on_with_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "ends_at.py").write_text(KILLS)
    folder, killed = tmp_path / "run", {"KILLED": str(tmp_path / "killed")}
    run = [*QUIET, *DIGITS, "+callbacks.own._target_=ends_at.Counts", f"hydra.run.dir={folder}"]
    for line, code in ((run, 143), ([f"resume={folder}"], 0)):
        assert Child([*line, "allow=[ends_at]"], tmp_path / "log", killed, path=tmp_path).wait() == code
    state = read_checkpoint(folder / "checkpoints" / "last.ckpt")["callbacks"]["Counts"]
    assert state == {"epochs": 5, "batches": 5 * 36}
