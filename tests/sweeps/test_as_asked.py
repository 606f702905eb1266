"""A sweep tries what was asked for: seeds, ranges and intervals as they are typed."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

import gradloop
from gradloop.config.compose import compose_config
from gradloop.errors import ConfigError
from gradloop.sweeps.search_space import Choice, Interval, Value, read_space
from gradloop.sweeps.study import distributions, value_of
from toy_sweep import run_toy

TINY = ["data=digits", "trainer.max_epochs=1", "logger=none", "callbacks.curves=null", "test=false"]


def test_a_setting_that_is_refused_is_refused_before_any_runs(command, tmp_path):
    ended = command("-m", *TINY, "seed=1", "sweep.search_space.optimizer.lr=0.01,0.02,-1")
    assert (ended.code, ended.err) == (2, "error: optimizer.lr=-1: expected more than 0\n")
    assert not list((tmp_path / "here").iterdir())


def test_a_list_of_seeds_is_one(tmp_path):
    done = run_toy(tmp_path, "optimizer.lr=1e-3,1e-2", "seeds=[5,6]")
    assert [job.values["seed"] for job in done.sweep.jobs] == [5, 6, 5, 6]


def test_what_is_to_go_on_is_what_was_asked_for_last(tmp_path):
    first = run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=1", "seed=0")
    assert "sweep.n_trials=1" in first.sweep.command
    more = run_toy(tmp_path, "sweep=optuna", "sweep.n_trials=3", "seed=0", "sweep.resume=last")
    assert "sweep.n_trials=3" in more.sweep.command
    assert "sweep.resume" not in more.sweep.command


@pytest.mark.parametrize(
    "text", ["range(64,16,-16)", "shuffle(range(32,80,16))", "sort(range(32,80,16),reverse=true)"]
)
def test_a_range_holds_its_values_whatever_their_order(text):
    optuna = pytest.importorskip("optuna")
    _, space = read_space([f"data.batch_size={text}"], {})
    domain = space["data.batch_size"]
    assert isinstance(domain, Choice)
    assert sorted(value.data for value in domain.values) == [32, 48, 64]
    assert distributions(optuna, space)["data.batch_size"] == optuna.distributions.IntDistribution(32, 64, step=16)
    assert value_of(domain, 48) == Value(48, "48")


@pytest.mark.parametrize(
    ("text", "whole"), [("interval(0.1,2.4)", False), ("interval(8,64)", True), ("int(interval(8,64))", True)]
)
def test_an_interval_between_fractions_holds_fractions(text, whole):
    config, _ = compose_config(["optimizer.lr=1"])  # an own YAML file may write it so
    OmegaConf.set_struct(config.optimizer, False)
    config.optimizer.lr = 1
    _, space = read_space([f"optimizer.lr={text}"], {}, config)
    domain = space["optimizer.lr"]
    assert isinstance(domain, Interval)
    assert domain.whole is whole


def test_what_is_asked_of_a_single_run_is_not_lost(train, tmp_path):
    record = train(*TINY, "notes=2026", "tags=[2026,paper]", "seed=1")
    assert (record["notes"], record["tags"]) == ("2026", ["2026", "paper"])
    with pytest.raises(ConfigError, match=r"overfit_batches=0\.05: not even one of the val part's 9 batches"):
        train(*TINY, "trainer.overfit_batches=0.05", "seed=1")


def test_other_folds_and_no_seed_are_refused(tmp_path):
    given = ["data=digits", "trainer.max_epochs=1", "logger=none", "callbacks=none", f"output_dir={tmp_path}"]
    swept = gradloop.sweep([*given, "folds=2", "seed=1"])
    with pytest.raises(ConfigError, match=r"folds=3: this sweep's runs have folds=2; start a new sweep"):
        gradloop.sweep([*given, "folds=3", "seed=1", f"sweep.resume={swept.folder}"])
    with pytest.raises(ConfigError, match=r"seeds=\[-1\]: expected how many"):
        gradloop.sweep([*given, "seeds=[-1]"])
