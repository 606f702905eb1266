"""A sweep stopped anywhere and gone on with ends in the same table and the same trials as one never stopped."""

from __future__ import annotations

import csv
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from gradloop.runs.record import read_record
from processes import Child, until
from resume.drawn_stops import differences, left_by

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
FIXED = ["-m", "data=digits", "data.batch_size=16", "trainer.max_epochs=6", "model.dropout=0.2",
         "callbacks.checkpoints.every_seconds=0.05"]  # fmt: skip
KINDS = {
    "grid": ["optimizer.lr=1e-3,1e-2", "seed=0,1"],
    "optuna": ["sweep=optuna", "sweep.n_trials=5", "sweep.sampler.startup=2", "seed=0"],
}


def ended_as(folder: Path) -> dict[str, Any]:
    """Return what a sweep has left: its table (but for times), its trials, all that its runs have left."""
    with open(folder / "leaderboard.csv", newline="") as file:
        table = [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]
    jobs = json.loads((folder / "sweep.json").read_text())["jobs"]
    found: dict[str, Any] = {"table": table, "jobs": [(job["number"], job["values"], job["status"]) for job in jobs]}
    found["runs"] = {str(job["number"]): left_by(folder / str(job["number"])) for job in jobs}
    if (folder / "study.db").exists():
        study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")
        found["trials"] = [(trial.number, trial.params, trial.values, trial.state.name) for trial in study.trials]
    return found


def check(number: int, root: Path) -> int:
    """Raise AssertionError if the sweep that this number draws ends otherwise than one never stopped."""
    dice = random.Random(number)
    kind = dice.choice(list(KINDS))
    whole = root / kind
    if not whole.exists():
        child = Child([*FIXED, *KINDS[kind], f"hydra.sweep.dir={whole}"], root / f"{kind}.log")
        assert child.wait(timeout=240) == 0, child.output()
    folder, told = root / f"stopped_{number}", []
    arguments = [*FIXED, *KINDS[kind], f"hydra.sweep.dir={folder}"]
    for attempt in range(dice.randint(1, 3)):
        given, delay = dice.choice(SIGNALS), dice.uniform(0, 6)
        told.append(f"{given.name} after {delay:.2f} s")
        child = Child(arguments, root / f"{folder.name}_{attempt}.log")
        until(lambda c=child: c.ended() or (folder / "sweep.json").exists())
        child.ended(within=delay)
        child.signal(given)
        code = child.wait(timeout=120)
        if code == 0:
            break
        # while it starts or sums up, a signal ends it at once; a shell shows both as 128 + the signal's number
        assert code in (-given, 128 + given), f"{told}: {code}\n{child.output()}"
        arguments = [*FIXED, *KINDS[kind], f"sweep.resume={folder}"]
    else:
        child = Child(arguments, root / f"{folder.name}_end.log")
        assert child.wait(timeout=240) == 0, f"{told}\n{child.output()}"
    found = differences(ended_as(whole), ended_as(folder))
    assert not found, f"draw {number}, {kind}, {told}: {found[:6]}"
    print(f"draw {number}: {kind}: {', '.join(told)}: equal")
    return len(told)


@pytest.mark.slow
def test_a_stop_in_a_runs_last_moments_stops_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "import os, pathlib, signal, lightning.pytorch as pl\n"
        "class Late(pl.Callback):\n"
        f"    def on_test_end(self, *_): os.kill(int(pathlib.Path('{tmp_path}/pid').read_text()), signal.SIGTERM)\n"
    )
    late = ["allow=[late]", "+callbacks.late._target_=late.Late"]
    arguments = [*FIXED, *late, "trainer.max_epochs=1", "optimizer.lr=1e-3,1e-2,1e-1", "seed=0"]
    arguments.remove("trainer.max_epochs=6")
    child = Child([*arguments, f"hydra.sweep.dir={tmp_path / 's'}"], tmp_path / "log", path=tmp_path)
    (tmp_path / "pid").write_text(str(child.pid))
    assert child.wait() == 143, child.output()
    assert read_record(tmp_path / "s" / "0")["status"] == "completed"
    assert not (tmp_path / "s" / "1").exists()


@pytest.mark.slow
@pytest.mark.parametrize("case", range(4))
def test_a_sweep_stopped_anywhere_ends_as_one_never_stopped(
    case: int, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    """Cases are drawn by the clock; a failure names the number that `--draw` repeats."""
    number = pytestconfig.getoption("draw")
    check(4 * int(time.time()) + case if number is None else number, tmp_path)
