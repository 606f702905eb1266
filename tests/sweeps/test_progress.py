from __future__ import annotations

from pathlib import Path

from gradloop.sweeps.progress import SweepProgress
from gradloop.sweeps.sweep_folder import Job, Sweep


def status_of(*statuses: str) -> str:
    jobs = [Job(number, {"seed": number}, [], "", status=status) for number, status in enumerate(statuses)]
    sweep = Sweep(Path("nowhere"), "toy", "grid", "gradloop-train -m", [], jobs=jobs)
    return SweepProgress(sweep, total=len(jobs), width=1).status()


def test_a_stopped_run_is_neither_done_nor_failed():
    status = status_of("completed", "pruned", "failed", "diverged", "interrupted", "running", "not_run")
    assert status.startswith("done 2/7, running 1, failed 2, interrupted 1")


def test_nothing_interrupted_is_not_worth_a_word():
    assert status_of("completed", "running").startswith("done 1/2, running 1, failed 0")
    assert "interrupted" not in status_of("completed", "running")
