"""Going on with a sweep by another command than its own, or by none."""

from __future__ import annotations

import json
from pathlib import Path

from one_line import assert_one_line

TOY = ["data=linear_regression", "model=linear", "logger=none", "callbacks.curves=null", "trainer.max_epochs=2"]
PLACE = "hydra.sweep.dir=S"


def numbers(folder: Path) -> list[int]:
    return [job["number"] for job in json.loads((folder / "S" / "sweep.json").read_text())["jobs"]]


def test_another_command_is_told_what_it_does_not_ask_for_and_none_adds_nothing(command, tmp_path):
    here = tmp_path / "here"
    first = command("-m", *TOY, PLACE, "optimizer.lr=0.1,0.01,0.1", "seed=0")
    assert first.code == 0, first.err
    assert numbers(here) == [0, 1]  # what is given twice is tried once
    second = command("-m", *TOY, "optimizer.lr=0.1,0.02", "seed=0", "sweep.resume=S")
    assert second.code == 0, second.err
    assert "not asked for by this command: 1 of this sweep's 3 runs, of which 0 go on" in second.out
    assert_one_line(command("-m", "sweep.resume=S", "sweep.rerun=true"), 2, ["sweep.rerun=true", "names no run"])
    third = command("-m", "sweep.resume=S")
    assert third.code == 0, third.err
    assert numbers(here) == [0, 1, 2]
    assert "3 runs: 3 completed" in third.out


def test_a_plan_says_what_would_fail(command):
    planned = command("-m", "experiment=synthetic_classification", "optimizer=adam,muon", "sweep.plan=true")
    assert planned.code == 2
    assert "run 1: would fail: 'optimizer.fused': Muon has no such parameter" in planned.out
