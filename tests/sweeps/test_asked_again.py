"""What a sweep is asked for when it goes on, how much it asks for at once, and keys that nobody typed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from gradloop.errors import ConfigError
from gradloop.runs.record import read_record
from gradloop.runs.same_data import different_data
from gradloop.sweeps import opening
from gradloop.sweeps.engines import JobSpec
from gradloop.sweeps.methods import Proposal
from gradloop.sweeps.opening import LOCK
from gradloop.sweeps.planner import Planner
from gradloop.sweeps.sweep_folder import Job, Sweep, read_sweep
from toy_sweep import PretendedRuns, run_toy


def overrides(folder: Path, run: int) -> list[str]:
    return read_sweep(folder).jobs[run].overrides


def test_what_cannot_change_a_result_is_as_the_last_command_says(tmp_path: Path) -> None:
    first = run_toy(tmp_path, "seed=0", "optimizer.lr=0.01,0.1", "name=stop")
    again = run_toy(tmp_path, "seed=0", "optimizer.lr=0.01,0.1", "name=learn", "threads=1", "sweep.resume=last")
    assert len(again.sweep.jobs) == 2
    assert again.statuses == ["completed", "completed"]
    assert "threads=1" in overrides(first.sweep.folder, 0)


def test_a_plan_is_read_by_who_holds_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command may write a new plan as long as it works on the sweep."""
    run_toy(tmp_path, "seed=0")

    def read(folder: Path) -> Sweep:
        with pytest.raises(Timeout):
            FileLock(folder / LOCK, timeout=0).acquire()
        return read_sweep(folder)

    monkeypatch.setattr(opening, "read_sweep", read)
    assert len(run_toy(tmp_path, "seed=0,1", "sweep.resume=last").sweep.jobs) == 2


def test_a_choice_of_callbacks_that_change_nothing_is_run_as_well(tmp_path: Path) -> None:
    done = run_toy(tmp_path, "callbacks=default,gradients", "seed=0")
    assert [job.values["callbacks"] for job in done.sweep.jobs] == ["default", "gradients"]


def test_varied_threads_are_named_in_the_command_of_a_run(tmp_path: Path) -> None:
    done = run_toy(tmp_path, "threads=1,2", "name=fail", "seed=0")
    assert [f"threads={n}" in done.sweep.command_of(job) for n, job in zip((1, 2), done.sweep.jobs, strict=True)]
    assert "threads=2" in done.sweep.command_of(done.sweep.jobs[1])


def test_the_seed_of_the_first_command_stays_its_own(tmp_path: Path) -> None:
    first = run_toy(tmp_path, "optimizer.lr=0.01,0.1")
    again = run_toy(tmp_path, "optimizer.lr=0.01,0.1", "seed=7", "sweep.resume=last")
    assert again.sweep.seed == first.sweep.seed
    assert [job.seed for job in again.sweep.jobs[2:]] == [7, 7]
    assert "seed 7\n" in again.out
    assert f"seed {first.sweep.seed}\n" in first.out


def test_the_first_line_says_the_seed_that_the_runs_have(tmp_path: Path) -> None:
    run_toy(tmp_path, "seeds=[1,2]")
    again = run_toy(tmp_path, "optimizer.lr=0.1,0.2", "sweep.resume=last")
    assert f"seed {again.sweep.jobs[2].seed}\n" in again.out


def test_folds_of_the_data_s_own_go_on(tmp_path: Path) -> None:
    asked = ["data=digits", "data.folds=3", "data.fold=range(3)", "seed=0"]
    done = run_toy(tmp_path, *asked)
    for path in done.sweep.folder.glob("*/summary.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"data": {"samples": {}, "folds": {"folds": 3, "fold": 0}}}))
    assert run_toy(tmp_path, *asked, "sweep.resume=last").code == 0
    with pytest.raises(ConfigError, match=r"data\.folds=4: this sweep's runs have data\.folds=3"):
        run_toy(tmp_path, *asked[:1], "data.folds=4", *asked[2:], "sweep.resume=last")


def test_the_record_of_a_run_that_another_process_trains_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_toy(tmp_path, "seed=0,1", "name=stop")
    statuses: list[str] = []  # as each run's process finds them
    start = PretendedRuns.start

    def look(engine: PretendedRuns, number: int, spec: JobSpec) -> None:
        statuses.append(read_record(spec.runs[0].folder)["status"])
        start(engine, number, spec)

    monkeypatch.setattr(PretendedRuns, "start", look)
    with FileLock(done.sweep.folder / "1" / ".lock"):
        run_toy(tmp_path, "seed=0,1", "name=learn", "sweep.resume=last")
    assert statuses == ["not_run", "interrupted"]


def test_shuffled_values_are_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    asked = ["sweep=random", "sweep.n_trials=4", "optimizer.lr=0.01", "seed=0"]
    asked += ["sweep.search_space.optimizer.lr=null", "data.batch_size=shuffle(16,24,32,48,64,96)"]
    done = run_toy(tmp_path, *asked)
    again = run_toy(tmp_path, *asked, "sweep.resume=last")
    assert len(again.sweep.jobs) == len(done.sweep.jobs)


@pytest.mark.parametrize("line", ["seeds=[0,4294967296]", "optimizer.lr=interval(0.1,inf)"])
def test_what_no_run_could_take_is_refused_before_the_first(line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=line.split("=")[0].replace(".", r"\.")):
        run_toy(tmp_path, "sweep=random", line)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "asked",
    [
        ["data.batch_size=interval(16,64)", "sweep.search_space.optimizer.lr=null"],
        ["optimizer.lr=interval(1e-3,1e-1)", "sweep.pruner=median"],
    ],
    ids=["batches", "pruned"],
)
def test_a_search_asks_for_one_setting_where_runs_do_not_stack(asked: list[str], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    given = ["sweep=optuna", "sweep.n_trials=6", "seed=0", "name=fail", "sweep.stop_on_failure=true", *asked]
    done = run_toy(tmp_path, *given, "sweep.population=auto", "experiment=synthetic_classification")
    assert len(done.sweep.jobs) == 1


@pytest.mark.parametrize("asked", [["callbacks=lr_finder"], ["scheduler=one_cycle", "scheduler.max_lr=0.1"]])
def test_a_search_has_no_rates_where_they_do_not_count(asked: list[str], tmp_path: Path) -> None:
    done = run_toy(tmp_path, "sweep=random", "sweep.n_trials=2", "data.batch_size=16,32", "seed=0", *asked)
    assert done.sweep.keys == ["data.batch_size"]


def test_data_without_a_fingerprint_may_differ() -> None:
    records = [{"data": {"source": {"root": root}, "fingerprint": None, "samples": {}}} for root in "ab"]
    assert "data.root" in (different_data(records) or "")
    assert different_data(records[:1] * 2) is None


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (["model=simple_nn", "model.hidden_dims=[4],[8]"], ["model=linear"]),
        (["scheduler=step", "scheduler.step_size=1,2"], ["scheduler=cosine"]),
        (["callbacks.curves=null", "optimizer.lr=0.1,0.2"], ["callbacks=none", "optimizer.lr=0.1"]),
        (["scheduler=step", "scheduler.step_size=1,2"], ["scheduler=constant,cosine"]),
    ],
    ids=["model", "scheduler", "callbacks", "choices"],
)
def test_a_sweep_goes_on_with_another_choice_of_a_group(first: list[str], then: list[str], tmp_path: Path) -> None:
    """The other choice lacks a key that was varied, or that changes nothing."""
    run_toy(tmp_path, "seed=1", *first)
    again = run_toy(tmp_path, "seed=1", *then, "sweep.resume=last")
    group = then[0].partition("=")[0]
    assert [job.values[group] for job in again.sweep.jobs[2:]] == then[0].partition("=")[2].split(",")
    assert set(again.statuses) == {"completed"}


@pytest.mark.parametrize("after", [0, 1])
def test_a_sweep_that_was_stopped_while_it_was_planned_asks_for_its_command(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runs are not all known: it is not over when those that are have ended."""
    planned: list[Proposal] = []
    plan = Planner.plan

    def stopping(planner: Planner, proposal: Proposal) -> list[Job]:
        planned.append(proposal)
        if len(planned) == after + 1:
            signal.raise_signal(signal.SIGTERM)
        return plan(planner, proposal)

    asked = ["optimizer.lr=0.1,0.01,0.001", "seed=0"]
    with monkeypatch.context() as patched:
        patched.setattr(Planner, "plan", stopping)
        first = run_toy(tmp_path, *asked)
    assert (first.code, len(first.sweep.jobs)) == (143, after + 1)
    with pytest.raises(ConfigError, match=r"stopped before it was planned; repeat its command: gradloop.*0\.001"):
        run_toy(tmp_path, "sweep.resume=last", monitor=False)
    again = run_toy(tmp_path, *asked, "sweep.resume=last")
    assert again.statuses == ["completed"] * 3
    assert run_toy(tmp_path, "sweep.resume=last", monitor=False).code == 0
