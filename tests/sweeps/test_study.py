from __future__ import annotations

import os
import sys
from pathlib import Path

import optuna
import pytest

from gradloop.config.check import plain
from gradloop.config.compose import compose_config
from gradloop.errors import ConfigError
from gradloop.sweeps.methods import direction_of
from gradloop.sweeps.results.leaderboard import leaderboard
from gradloop.sweeps.search_space import Choice, Interval, Value, read_space
from gradloop.sweeps.study import Study, distributions, value_of
from gradloop.sweeps.sweep_folder import read_sweep
from toy_sweep import Outcome, run_toy


def study_of(done: Outcome) -> optuna.Study:
    return optuna.load_study(study_name=done.sweep.study, storage=done.sweep.storage)


def states(done: Outcome) -> list[str]:
    return [trial.state.name for trial in study_of(done).trials]


def test_a_trial_is_a_setting_and_its_value_the_mean_over_seeds(tmp_path):
    done = run_toy(
        tmp_path, "sweep=optuna", "sweep.n_trials=2", "seeds=2", "seed=0", "trainer.max_epochs=int(interval(8,64))"
    )
    assert done.code == 0
    study = study_of(done)
    assert study.direction.name == "MAXIMIZE"
    assert len(study.trials) == 2
    for trial in study.trials:
        jobs = [job for job in done.sweep.jobs if job.trial == trial.number]
        assert [job.values["seed"] for job in jobs] == [0, 1]
        assert trial.value == pytest.approx(sum(job.value("val/accuracy") for job in jobs) / 2)
        assert trial.params == {key: jobs[0].values[key] for key in ("optimizer.lr", "trainer.max_epochs")}
    assert (done.sweep.folder / "study.db").exists()
    assert f"optuna-dashboard {done.sweep.storage}" in done.out


def test_a_failed_trial_is_told_and_the_study_goes_on_and_is_resumed(tmp_path):
    few = run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=3", "name=learn,fail", "seed=0", "sweep.sampler.seed=1")
    assert few.code == 1
    told = [{"completed": "COMPLETE", "failed": "FAIL"}[status] for status in few.statuses]
    assert states(few) == told
    assert set(told) == {"COMPLETE", "FAIL"}
    more = run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=4", "name=learn,fail", "seed=0", "sweep.resume=last")
    assert states(more)[:3] == told
    assert len(more.sweep.jobs) == len(states(more)) == 4
    assert all(len(more.starts(number)) == 1 for number in range(4))


def test_a_trial_whose_run_was_stopped_stays_open(tmp_path):
    done = run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=3", "name=learn,stop", "seed=0", "sweep.sampler.seed=1")
    assert done.code == 1
    assert states(done) == [{"completed": "COMPLETE", "interrupted": "RUNNING"}[s] for s in done.statuses]
    assert set(states(done)) == {"COMPLETE", "RUNNING"}


def test_a_trial_that_was_cut_off_is_finished_on_resume(tmp_path):
    first = run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=2", "seed=0")
    # as a killed sweep leaves it: asked, planned, never told
    study = study_of(first)
    trial = study.ask({"optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)})
    job = first.sweep.jobs[1]
    overrides = [text for text in job.overrides if "optimizer.lr" not in text]
    lr = trial.params["optimizer.lr"]
    first.sweep.jobs.append(
        type(job)(2, {"optimizer.lr": lr}, [*overrides, f"optimizer.lr={lr!r}"], "cut off", trial.number)
    )
    first.sweep.save()
    again = run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=4", "seed=0", "sweep.resume=last")
    assert states(again) == ["COMPLETE"] * 4
    assert study_of(again).trials[2].value == again.sweep.jobs[2].value("val/accuracy")


def test_a_setting_that_comes_again_is_told_without_a_run(tmp_path):
    done = run_toy(
        tmp_path, "sweep=optuna", "sweep.n_trials=5", "optimizer.lr=0.1", "trainer.max_epochs=8,16", "seed=0"
    )
    assert len(done.sweep.jobs) <= 2
    assert states(done) == ["COMPLETE"] * 5
    values = {trial.params["trainer.max_epochs"]: trial.value for trial in study_of(done).trials}
    assert values == {str(job.values["trainer.max_epochs"]): job.value("val/accuracy") for job in done.sweep.jobs}


def test_several_objectives(tmp_path):
    objectives = "sweep.objectives=[test/accuracy,durations/fit]", "sweep.directions=[maximize,minimize]"
    done = run_toy(
        tmp_path, "sweep=optuna", "sweep.n_trials=3", *objectives, "trainer.max_epochs=range(8,64,8)", "seed=0"
    )
    study = study_of(done)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for trial, job in zip(study.trials, done.sweep.jobs, strict=True):
        assert trial.values == [job.record["metrics"]["test/accuracy"], job.values["trainer.max_epochs"]]
    assert "none is better in every objective" in done.out
    board = leaderboard(read_sweep(done.sweep.folder))
    assert board.metrics[:3] == ["val/accuracy", "test/accuracy", "durations/fit"]
    best = {trial.number for trial in study.best_trials}
    assert {row.jobs[0].trial for row in board.rows if row.front} == best
    assert done.out.count(", Pareto front") == len(best)


KAPPA = ("metrics.kappa._target_=torchmetrics.CohenKappa", "monitor=val/kappa")
OWN = ("module._target_=own_lightning.LitAutoEncoder", "data=digits", "allow=[own_lightning]")


@pytest.mark.parametrize(
    ("line", "direction"),
    [
        ((), "maximize"),
        (("data=linear_regression", "model=linear"), "minimize"),
        (("monitor=val/loss",), "minimize"),
        (KAPPA, "maximize"),
        (OWN, "minimize"),
        ((*OWN, "monitor=val_acc"), "maximize"),
        ((*OWN, "monitor=val_acc", "monitor_mode=min"), "minimize"),
    ],
)
def test_the_direction_is_the_runs(line, direction, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "kit"), prepend=os.pathsep)
    assert direction_of(plain(compose_config([*line])[0])) == direction


def test_a_study_of_other_directions_is_refused(tmp_path):
    shared = f"sweep.storage=sqlite:///{tmp_path}/shared.db", "sweep.study=one"
    run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=1", *shared)
    with pytest.raises(ConfigError, match="'one' was begun with"):
        run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=1", *shared, "monitor_mode=min")


def test_search_spaces_as_optuna_sees_them():
    arguments = [
        "a=tag(log,interval(1e-4,1))",
        "b=int(interval(1,9))",
        "c=x,[1]",
        "d=range(2,10,3)",
        "e=range(0,1,0.25)",
    ]
    _, space = read_space(arguments, {})
    known = optuna.distributions
    assert distributions(optuna, space) == {
        "a": known.FloatDistribution(1e-4, 1, log=True),
        "b": known.IntDistribution(1, 9),
        "c": known.CategoricalDistribution(["x", "[1]"]),
        "d": known.IntDistribution(2, 8, step=3),
        "e": known.FloatDistribution(0, 0.75, step=0.25),
    }
    assert value_of(space["c"], "[1]") == Value([1], "[1]")
    assert value_of(Choice((Value(2, "2"), Value(5, "5")), step=3), 5) == Value(5, "5")
    assert value_of(Interval(0, 1, log=False, whole=False), 0.5).text == "0.5"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "given", ["range(0,1,0.3)", "range(1,0,-0.3)", "range(0.1,0.8,0.1)", "range(5)", "range(3,9,2)"]
)
def test_a_search_draws_each_value_of_a_range(given, tmp_path):
    _, space = read_space([f"a={given}"], {})
    study = Study(
        tmp_path, {"method": "optuna", "sampler": {"seed": 0, "startup": 99}}, ["maximize"], name="s", epochs=1
    )
    drawn = {study.ask(space, range(number))[1]["a"] for number in range(60)}
    assert drawn == set(space["a"].values)


def test_what_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'gradloop\[optuna\]'"):
        run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=1")


def test_settings_are_asked_for_when_a_run_is_free(tmp_path):
    """Two at once: the third setting is asked for when one of the first two has been told, not both."""
    done = run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=3", "seed=0", width=2)
    assert done.log == ["start 0", "start 1", "end 0", "start 2", "end 1", "end 2"]
    assert states(done) == ["COMPLETE"] * 3


def test_a_pruned_sweeps_first_seed_runs_ahead_of_the_others(tmp_path):
    done = run_toy(tmp_path, "sweep=optuna_pruned", "sweep.n_trials=2", "seeds=2", "seed=0")
    assert [job.trial for job in done.sweep.jobs] == [0, 0, 1, 1]
    told = [done.starts(number)[0] for number in range(4)]
    assert told == ["prunes=True", "prunes=False"] * 2


def test_further_seeds_of_a_setting_that_ended_at_its_first_are_not_planned(tmp_path):
    """Pruned or failed: what is not to be run is not left over as "not run" either."""
    done = run_toy(tmp_path, "sweep=optuna_pruned", "sweep.n_trials=2", "seeds=2", "seed=0", "name=fail")
    assert done.statuses == ["failed"] * 2
    assert done.sweep.finished is True


def test_an_objective_that_no_run_has_is_refused_after_the_first(tmp_path):
    objective = ("sweep.objectives=[test/acuracy]", "sweep.directions=[maximize]")
    with pytest.raises(ConfigError, match=r"no run has test/acuracy; did you mean 'test/accuracy'"):
        run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=2", "seed=0", *objective)


def test_a_run_that_goes_on_is_judged_by_its_new_epochs_alone(tmp_path):
    options = {"method": "optuna", "pruner": "median", "startup_trials": 1, "sampler": {"seed": 0}}
    space = {"optimizer.lr": Interval(0.0, 1.0, log=False, whole=False)}

    def opened() -> Study:
        return Study(tmp_path, options, ["maximize"], name="s", epochs=10)

    study = opened()
    first, _ = study.ask(space, [])
    assert not any(study.given_up(first, epoch, 0.5) for epoch in range(10))
    study.tell(first, [0.5], "complete")
    second, _ = study.ask(space, [first])
    assert [study.given_up(second, epoch, value) for epoch, value in enumerate([0.9, 0.9, 0.6])] == [False] * 3
    again = opened()
    assert [again.given_up(second, epoch, value) for epoch, value in enumerate([0.9, 0.9, 0.6])] == [False] * 3
    third, _ = again.ask(space, [first, second])
    assert again.given_up(third, 0, 0.1)
    assert not opened().given_up(second, 0, 0.9)


def test_other_values_than_the_study_began_with_are_refused_before_a_trial_is_opened(tmp_path):
    search, more = (["sweep=optuna", f"sweep.n_trials={count}", "seed=0"] for count in (2, 3))
    run_toy(tmp_path, *search, "trainer.max_epochs=8,16")
    with pytest.raises(ConfigError, match=r"^trainer.max_epochs: study .* was begun with other values"):
        run_toy(tmp_path, *more, "trainer.max_epochs=8,32", "sweep.resume=last")
    done = run_toy(tmp_path, *more, "trainer.max_epochs=8,16", "sweep.resume=last")
    assert len(study_of(done).trials) == 3
    with pytest.raises(ConfigError, match=r"^sweep.rerun=true: a study is told of each trial once"):
        run_toy(tmp_path, *search, "trainer.max_epochs=8,16", "sweep.resume=last", "sweep.rerun=true")
