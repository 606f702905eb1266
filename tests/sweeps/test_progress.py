from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradloop.sweeps.progress import SweepProgress, announced
from gradloop.sweeps.search_space import read_space
from gradloop.sweeps.sweep_folder import Job, Sweep
from terminal import on_a_terminal

TOY = ["data=linear_regression", "model=linear", "trainer.max_epochs=3", "callbacks.tensorboard=null"]


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


@pytest.mark.parametrize("columns", [80, 120])
def test_the_bar_fits_and_metrics_give_way_first(columns: int, tmp_path: Path) -> None:
    knobs = ["-m", *TOY, "optimizer.lr=1e-2,1e-1", "seed=range(2)", "sweep.population=off", "hydra.sweep.dir=s"]
    code, shown = on_a_terminal(columns, *knobs, cwd=tmp_path)
    assert code == 0, shown
    lines = [line.rstrip() for line in shown.splitlines() if line.strip()]
    assert lines[0] == "linear_regression · Linear · Adam · 3 epochs"
    assert lines[1] == "4 runs: 2 lr × 2 seeds"
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= columns
    bars = [line for line in lines if line.startswith("runs ━")]
    whole = re.compile(
        r"runs [━╸╺ ]{20} +[0-4]/4 (starting|running 1|[\d.]+ s left)?(, )?(best val/loss [\d.e-]+ \(run [0-3]\))?"
    )
    assert bars
    assert all(whole.fullmatch(line) for line in bars), [line for line in bars if not whole.fullmatch(line)][:3]
    assert any("left, best" in line for line in bars)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optimizer.lr=1e-3,1e-2", "model.width=1,2,3", "seed=range(3)"], "18 runs: 2 lr × 3 width × 3 seeds"),
        (["a.lr=1,2", "b.lr=1,2"], "4 runs: 2 a.lr × 2 b.lr"),
        (["optimizer.lr=1e-3"], "1 run"),
    ],
)
def test_what_a_grid_will_try_is_announced(words: list[str], told: str) -> None:
    assert announced(read_space(words, {})[1], {"method": "grid"}, None, None) == told


def test_what_a_search_will_try_is_announced() -> None:
    space = read_space(["optimizer.lr=interval(0,1)"], {})[1]
    options = {"method": "optuna", "n_trials": 20}
    assert announced(space, options, [0, 1, 2], 5) == "300 runs: 20 settings of lr × 3 seeds × 5 folds"


@pytest.mark.slow
def test_runs_that_train_as_one_have_a_time_left_by_their_epochs(command) -> None:
    knobs = ["data=digits", "trainer.max_epochs=400", "optimizer.lr=1e-3,1e-2", "seed=range(4)"]
    ended = command("-m", *knobs, "hydra.sweep.dir=s")
    assert ended.code == 0, ended.err
    assert re.search(r"running 8 \(epoch \d+/400\), failed 0, \S+( s)? passed, \S+( s)? left$", ended.out, re.M), (
        ended.out
    )
