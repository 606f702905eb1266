"""What a sweep makes of settings that come twice, of earlier attempts, and of commands that name nothing to run."""

from __future__ import annotations

import os
import signal
from collections import deque
from dataclasses import replace
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from gradloop.runs.record import FAILED, NOT_RUN, write_record
from gradloop.runs.slurm import requeued_run
from gradloop.sweeps.engines import slurm
from gradloop.sweeps.engines.server import elsewhere
from gradloop.sweeps.progress import SweepProgress
from gradloop.sweeps.results.statistics import spread
from gradloop.sweeps.running import Running
from gradloop.sweeps.sweep_folder import Job, Sweep
from toy_sweep import run_toy


def test_a_setting_that_is_proposed_twice_and_fails_at_its_first_seed_ends_no_sweep(tmp_path):
    pytest.importorskip("optuna")
    given = ["sweep=optuna_pruned", "sweep.n_trials=8", "sweep.batch=8", "optimizer.lr=0.1,0.01", "seeds=3"]
    done = run_toy(tmp_path, *given, "name=fail", "seed=0", width=4)
    assert done.statuses == ["failed"] * 2  # each setting's first seed; the others are not needed
    assert "2 failed" in done.out


def test_a_search_that_is_over_asks_for_no_more_although_settings_came_twice(tmp_path):
    pytest.importorskip("optuna")
    given = ["sweep=optuna", "sweep.n_trials=6", "optimizer.lr=0.1,0.01", "seed=0"]
    first = run_toy(tmp_path, *given)
    again = run_toy(tmp_path, *given, "sweep.resume=last")
    import optuna

    study = optuna.load_study(study_name=again.sweep.study, storage=again.sweep.storage)
    assert len(study.trials) == 6
    assert len(again.sweep.jobs) == len(first.sweep.jobs) <= 2


@pytest.mark.parametrize("method", ["random", "optuna"])
def test_a_command_that_names_nothing_to_run_adds_nothing(method, tmp_path):
    if method == "optuna":
        pytest.importorskip("optuna")
    first = run_toy(tmp_path, f"sweep={method}", "sweep.n_trials=3", "seed=0", "trainer.max_epochs=7")
    again = run_toy(tmp_path, f"sweep={method}", "sweep.resume=last", monitor=False)
    assert len(again.sweep.jobs) == len(first.sweep.jobs) == 3
    assert all(len(again.starts(number)) == 1 for number in range(3))


def running(jobs: list[Job], folder: Path) -> Any:
    stopped: list[int] = []
    engine = SimpleNamespace(width=2, leaves=(), stop=lambda job, number: stopped.append(job))
    sweep = Sweep(folder, "toy", "grid", "gradloop-train -m", [], jobs=jobs)
    found = Running(sweep, engine, lambda runs: None, retries=0, bundle=lambda waiting, n: [waiting.popleft()])  # type: ignore[arg-type]
    return found, stopped


def test_a_run_that_is_tried_again_does_not_count_as_failed(tmp_path):
    job = Job(0, {"seed": 0}, [], "", status=FAILED, reason="a typo")
    found, _ = running([job], tmp_path)
    found.add(job)
    assert (job.status, job.reason) == (NOT_RUN, None)
    assert SweepProgress(found.sweep, total=1, width=1).status().startswith("done 0/1, running 0, failed 0")


def test_a_job_is_told_once_to_stop_and_none_is_begun_after_that(tmp_path):
    jobs = [Job(number, {"seed": number}, [], "") for number in range(2)]
    found, stopped = running(jobs, tmp_path)
    found.jobs = {0: [jobs[0]]}
    found.waiting = deque([jobs[1]])

    def bundle(waiting: deque[Job], n: int) -> list[Job]:
        found.stopped = 15  # a signal, while it is looked at what stacks
        found.stop(15)
        return [waiting.popleft()]

    found.bundle = bundle
    assert found.start() == []
    found.stop(15)
    assert stopped == [0]
    assert list(found.waiting) == [jobs[1]]


@pytest.mark.parametrize("name", ["link", "other/../s"])
def test_a_clusters_jobs_are_found_by_any_name_of_the_sweeps_folder(tmp_path, name):
    for folder in ("s", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "s")
    job = Job(0, {"seed": 0}, [], "")
    found, _ = running([job], tmp_path / name)
    found.engine.found = lambda: {4711: [tmp_path / "s" / "0"]}
    found.find()
    assert found.jobs == {4711: [job]}


def test_a_run_that_its_job_leaves_to_another_process_is_waited_for(tmp_path):
    """A cluster's job that outlived its sweep has begun the run before the next start's job could."""
    job = Job(0, {"seed": 0}, [], "")
    found, _ = running([job], tmp_path)
    folder = tmp_path / "0"
    folder.mkdir()
    write_record(folder, {"status": "running", "overrides": []})
    held = FileLock(folder / ".lock", thread_local=False)
    held.acquire()

    def end() -> None:
        write_record(folder, {"status": "completed", "overrides": []})
        held.release()

    Timer(1.0, end).start()
    found.jobs, found.engine.wait = {0: [job]}, lambda seconds: {0: None}
    assert found.ended() == [job]
    assert (job.status, found.told) == ("completed", [])


def test_the_time_left_counts_runs_that_trained_as_one_by_their_share(tmp_path):
    record = {"durations": {"total": 60.0}, "population": {"size": 3}}
    jobs = [Job(n, {"seed": n}, [], "", status="completed", record=dict(record)) for n in range(3)]
    jobs.append(replace(jobs[0], number=3, status="failed", record={"durations": {"total": 0.1}}))
    jobs += [Job(n, {"seed": n}, [], "") for n in range(4, 7)]
    sweep = Sweep(tmp_path, "toy", "grid", "gradloop-train -m", [], jobs=jobs)
    assert SweepProgress(sweep, total=7, width=1).seconds_left() == pytest.approx(60)


def test_numbers_far_below_one_keep_their_digits():
    assert str(spread([3.2e-7, 3.3e-7, 3.1e-7])) == "3.2e-07 ± 1e-08"


def test_processes_of_a_second_sweep_have_the_environment_of_now(monkeypatch):
    monkeypatch.delenv("GRADLOOP_TOLD", raising=False)
    assert elsewhere(os.getenv, "GRADLOOP_TOLD") is None
    monkeypatch.setenv("GRADLOOP_TOLD", "now")
    assert elsewhere(os.getenv, "GRADLOOP_TOLD") == "now"


def test_the_end_of_a_slurm_jobs_time_lets_it_save_before_it_is_handed_in_anew(monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(slurm, "run_job", lambda spec: signal.raise_signal(signal.SIGUSR2))
    before = [signal.signal(number, lambda *_, name=name: told.append(name))
              for number, name in ((signal.SIGUSR2, "submitit"), (signal.SIGUSR1, "run"))]  # fmt: skip
    try:
        slurm.RequeuedJob()(None)  # type: ignore[arg-type]
    finally:
        for number, handler in zip((signal.SIGUSR2, signal.SIGUSR1), before, strict=True):
            signal.signal(number, handler)
    assert told == ["run", "submitit"]


def test_a_requeued_run_is_found_beside_one_that_can_not_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    for name, text in (
        ("a", '{"slurm_job": "4711", "status": "interrupted", "format": 2, "overrides": ["seed=1"]}'),
        ("b", "{"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(text)
    assert requeued_run(tmp_path, ["seed=1"]) == tmp_path / "a"
    assert requeued_run(tmp_path, ["seed=2"]) is None  # another command of the same job
