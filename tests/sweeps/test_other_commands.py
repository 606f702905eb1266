"""Sweeps that other commands go on with, knobs that some runs do not take, data that look at their seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gradloop
from gradloop.errors import ConfigError

QUICK = ["data=digits", "trainer.max_epochs=1", "logger=none", "callbacks.curves=null"]
OWN = """
from gradloop.data.digits import Digits

class Mine(Digits):
    def __init__(self, *, seed, **knobs):
        super().__init__(seed=seed, **knobs)
        self.random_state = seed
"""


def sweep(*overrides: str, folder: Path) -> gradloop.commands.train.Swept:
    return gradloop.sweep([*QUICK, *overrides, f"hydra.sweep.dir={folder}"])


def again(*overrides: str, folder: Path) -> gradloop.commands.train.Swept:
    return gradloop.sweep([*QUICK, *overrides, f"sweep.resume={folder}"])


def started(folder: Path) -> dict[str, str]:
    return {p.parent.name: json.loads(p.read_text())["started"] for p in folder.glob("*/summary.json")}


def test_data_that_look_at_their_seed_when_they_are_built_are_those_of_a_lone_run(tmp_path, monkeypatch):
    (tmp_path / "my_seeded.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    rows = [
        gradloop.sweep([*QUICK, "data._target_=my_seeded.Mine", "seed=1,2", f"sweep.population={how}"]).rows
        for how in ("auto", "off")
    ]
    assert [row["test/accuracy"] for row in rows[0]] == [row["test/accuracy"] for row in rows[1]]


def test_members_with_tables_of_their_own_are_tested_on_as_much_as_alone(tmp_path):
    given = ["data=synthetic_classification", "data.random_state=1,2", "seed=0", "trainer.limit_test_batches=1"]
    rows = [
        gradloop.sweep([*QUICK[1:], *given, f"sweep.population={how}", f"output_dir={tmp_path}"]).rows
        for how in (2, "off")
    ]
    assert [row["test/loss"] for row in rows[0]] == [row["test/loss"] for row in rows[1]]


@pytest.mark.parametrize("more", ["scheduler.warmup=10", "optimizer={lr:0.1}", "~callbacks.early_stopping"])
def test_what_another_command_fixes_otherwise_is_varied(tmp_path, more):
    first = ["callbacks=early_stopping"] if "early" in more else []
    key = {"optimizer={lr:0.1}": "optimizer.lr"}.get(more, more.lstrip("~").partition("=")[0])
    sweep(*first, "model.hidden_dims=[8],[16]", "seed=0", folder=tmp_path / "s")
    rows = again(*first, more, "model.hidden_dims=[8],[16]", "seed=0", folder=tmp_path / "s").rows
    assert len(rows) == 4
    assert key in rows[0]


def test_a_fixed_key_of_a_varied_group_does_not_hinder_going_on(tmp_path):
    given = ["optimizer=sgd,muon", "optimizer.momentum=0.9", "seed=0", "model.hidden_dims=[8,8]"]
    sweep(*given, folder=tmp_path / "s")
    rows = again(*given, "trainer.max_epochs=2", folder=tmp_path / "s").rows
    assert len(rows) == 4


def test_a_knob_at_nothing_repeats_no_run(tmp_path):
    sweep("optimizer.lr=1e-3,1e-2", "seed=0", folder=tmp_path / "s")
    before = started(tmp_path / "s")
    again("optimizer.lr=1e-3,1e-2", "loss.weight=null,balanced", "seed=0", folder=tmp_path / "s")
    again("optimizer.lr=1e-3,1e-2", "seed=0", folder=tmp_path / "s")
    after = started(tmp_path / "s")
    assert len(after) == 4
    assert {name: after[name] for name in before} == before


def test_a_zero_is_a_zero(tmp_path):
    sweep("optimizer.lr=1e-3,1e-2", "seed=0", folder=tmp_path / "s")
    rows = again("optimizer.lr=1e-3,1e-2", "optimizer.weight_decay=0,0.1", "seed=0", folder=tmp_path / "s").rows
    assert len(rows) == 4


@pytest.mark.parametrize("schedules", ["cosine,one_cycle", "one_cycle,cosine"])
def test_a_knob_that_some_runs_take_is_no_mistake(tmp_path, schedules):
    given = ["optimizer=sgd", "optimizer.momentum=0.9", f"scheduler={schedules}", "seed=0"]
    assert [row["status"] for row in sweep(*given, folder=tmp_path / "s").rows] == ["completed"] * 2


def test_whole_numbers_are_drawn_where_the_config_holds_none(command):
    given = [
        "sweep=random",
        "sweep.n_trials=3",
        "data=digits",
        "augmentation=cutout",
        "seed=0",
        "trainer.max_epochs=1",
    ]
    ended = command("-m", *given, "augmentation.cutout.side=interval(2,6)")
    assert ended.code == 0, ended.err + ended.out


def test_the_command_that_repeats_a_list_of_seeds_can_be_typed(tmp_path):
    folder = sweep("seeds=[5,7]", folder=tmp_path / "s").folder
    assert json.loads((folder / "sweep.json").read_text())["seed"] is None


def test_own_files_that_lack_keys_and_folders_that_vary_are_refused(tmp_path, command):
    for group in ("sweep", "trainer"):
        (tmp_path / "here" / "own" / group).mkdir(parents=True)
    (tmp_path / "here" / "own" / "sweep" / "mine.yaml").write_text("method: grid\n")
    (tmp_path / "here" / "own" / "trainer" / "mine.yaml").write_text(
        "_target_: lightning.pytorch.Trainer\nmax_epochs: 1\n"
    )
    ended = command("-m", "sweep=mine", "seed=0,1", "--config-dir", "own")
    assert (ended.code, "missing; let the file begin with defaults" in ended.err) == (2, True), ended.err
    ended = command("trainer=mine", "--config-dir", "own")
    assert (ended.code, "missing; let the file begin with defaults" in ended.err) == (2, True), ended.err
    ended = command("-m", "seed=0,1", "output_dir=a,b")
    assert (ended.code, "output_dir=a,b: belongs to the sweep" in ended.err) == (2, True), ended.err


def test_lists_of_numpys_numbers_are_lists(tmp_path):
    import numpy as np

    rows = gradloop.sweep([*QUICK, f"output_dir={tmp_path}"], seeds=list(np.arange(2))).rows
    assert rows[0]["n"] == 2
    with pytest.raises(ConfigError, match=r"experiment=glob\(nothing\*\)"):
        gradloop.sweep([*QUICK, "experiment=glob(nothing*)"])
    planned = gradloop.sweep(
        [*QUICK, f"output_dir={tmp_path}", "experiment=glob(lesson/1*)", "sweep.plan=true", "seed=0,1"]
    )
    assert planned._repr_markdown_() == ""
