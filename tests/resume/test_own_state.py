"""State of the user's own parts that no checkpoint can give back: refused when saved, not when needed."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest

from gradloop.runs.checkpoint_files import read_checkpoint
from small_runs import QUIET

CODE = """
    import dataclasses, datetime
    import lightning.pytorch as pl
    import numpy
    import torch

    @dataclasses.dataclass
    class Score:
        best: float = 1.0

    VALUES = {
        "float64": numpy.float64(1.5), "time": datetime.datetime(2024, 1, 1), "dataclass": Score(),
        "function": lambda: 1, "fine": {"best": 1.5, "seen": [torch.zeros(2), None, "x"]},
    }

    class Counter(pl.Callback):
        def __init__(self, *, kind, after=0):
            self.kind, self.after, self.epochs = kind, after, 0

        def on_train_epoch_start(self, trainer, pl_module):
            self.epochs += 1

        def state_dict(self):
            return {"inner": [0, VALUES[self.kind] if self.epochs >= self.after else None]}

    class Extra(torch.nn.Linear):
        def __init__(self, *, in_features, out_features):
            super().__init__(in_features, out_features)

        def get_extra_state(self):
            return {"scale": numpy.float64(2)}

        def set_extra_state(self, state):
            pass
"""
TYPES = {
    "float64": "numpy.float64",
    "time": "datetime.datetime",
    "dataclass": "own_state.Score",
    "function": "function",
}


@pytest.fixture
def own_state(tmp_path, monkeypatch):
    """Put a module `own_state` of the user's on the path; return how to ask for its callback."""
    (tmp_path / "own_state.py").write_text(textwrap.dedent(CODE))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_state", raising=False)
    return [*QUIET, "logger=none", "data=linear_regression", "model=linear", "allow=[own_state]"]


def refused(ended, here, *words):
    assert ended.code == 4, ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert "\x1b" not in ended.err
    for word in words:
        assert word in ended.err
    record = json.loads(next(here.rglob("summary.json")).read_text())
    assert record["status"] == "failed"
    assert record["reason"] in ended.err
    assert not list(here.rglob("*.tmp"))
    return record


@pytest.mark.parametrize("kind", TYPES)
def test_a_callbacks_state_is_refused_before_the_first_step(kind, command, own_state, tmp_path):
    ended = command(*own_state, "+callbacks.own._target_=own_state.Counter", f"+callbacks.own.kind={kind}")
    record = refused(ended, tmp_path / "here", "callbacks.Counter.inner[1]", TYPES[kind])
    assert record["epochs"] == 0


def test_state_that_grows_later_is_refused_at_its_first_save(command, own_state, tmp_path):
    own = ["+callbacks.own._target_=own_state.Counter", "+callbacks.own.kind=float64", "+callbacks.own.after=3"]
    ended = command(*own_state, *own, "trainer.max_epochs=4", "callbacks.checkpoints.every_seconds=0")
    record = refused(ended, tmp_path / "here", "callbacks.Counter.inner[1]", "numpy.float64")
    read_checkpoint(Path(record["folder"]) / "checkpoints" / "last.ckpt")  # the save before it is still there


def test_a_networks_own_state_is_refused(command, own_state, tmp_path):
    ended = command(*own_state, "model._target_=own_state.Extra")
    refused(ended, tmp_path / "here", "state_dict.network._extra_state", "numpy.float64")


def test_plain_state_comes_back(command, own_state, tmp_path):
    own = ["+callbacks.own._target_=own_state.Counter", "+callbacks.own.kind=fine"]
    assert command(*own_state, *own, "trainer.max_epochs=1").code == 0
    folder = next((tmp_path / "here").rglob("summary.json")).parent
    resumed = command(f"resume={folder}", "trainer.max_epochs=2", "allow=[own_state]")
    assert resumed.code == 0, resumed.err
