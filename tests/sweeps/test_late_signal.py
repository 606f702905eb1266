"""A signal that comes when a run has its result, in a process that has further runs to do."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from gradloop.errors import RunInterrupted
from gradloop.runs.planning import plan
from gradloop.runs.record import read_record
from gradloop.training.population.as_one import run_population

LATE = ["+callbacks.late._target_=own_callbacks.StopWhileDrawing", "logger=none", "trainer.max_epochs=1", "seed=0"]


def test_it_ends_the_job_before_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setenv("STOP_AT", f"{int(signal.SIGTERM)} 0")
    planned = []
    for width in (4, 5):  # two shapes: each runs alone
        folder = tmp_path / str(width)
        lines = [*LATE, f"model.hidden_dims=[{width}]", f"hydra.run.dir={folder}"]
        planned.append(replace(plan(lines, None, "train"), new=False, place=folder))
        folder.mkdir()
    with pytest.raises(RunInterrupted, match="SIGTERM"):
        run_population(*planned)
    assert read_record(tmp_path / "4")["status"] == "completed"
    assert not (tmp_path / "5" / "summary.json").exists()
