"""Which runs of a sweep are trained as one, what is said of it, and what becomes of those that fail."""

from __future__ import annotations

import os
import random
import re
import signal
from pathlib import Path
from typing import Any

import pytest

import gradloop
from gradloop.runs.event_file import EventFile
from gradloop.runs.labels import event_folder
from gradloop.runs.record import read_record
from gradloop.sweeps.results.hparams import write_sessions
from populations import QUIET, SYNTHETIC, assert_as_alone, records, swept
from processes import Child, until
from sweeps_on_disk import make_sweep

DIVERGING = [*SYNTHETIC, "optimizer=sgd", "optimizer.lr=1e-2,1e30,1e-1,1e-3", "seed=0"]
TIMED = [
    "sweep=optuna",
    "sweep.n_trials=1",
    "sweep.objectives=[durations/fit]",
    "sweep.directions=[minimize]",
    "optimizer.lr=interval(0.1,1)",
]


@pytest.mark.slow
def test_while_members_train_the_sweep_says_how_far_they_are(tmp_path):
    folder = tmp_path / "sweep"
    arguments = ["experiment=synthetic_classification", "trainer.max_epochs=3000", "seeds=10", *QUIET]
    child = Child(["-m", *arguments, f"hydra.sweep.dir={folder}"], tmp_path / "sweep.log")
    until(lambda: child.log.exists() and (child.ended() or "(epoch " in child.output()), timeout=200)
    os.kill(child.pid, signal.SIGINT)
    assert child.wait(timeout=120) == 130
    assert re.search(r"running 10 \(epoch \d+/3000\)", child.output()), child.output()
    assert {record["status"] for record in records(folder)} == {"interrupted"}
    assert {record["population"]["size"] for record in records(folder)} == {10}
    assert child.output().count("\n  done ") < 5  # not once a run


@pytest.mark.slow
def test_two_populations_train_side_by_side(tmp_path):
    arguments = [*SYNTHETIC, "seed=range(6)"]
    together = swept(tmp_path, "together", *arguments, "hydra.launcher.n_jobs=2")
    assert {record["population"]["size"] for record in records(together)} == {3}
    assert len({record["pid"] for record in records(together)}) == 2
    assert_as_alone(together, swept(tmp_path, "alone", *arguments, "sweep.population=off"))


BRANCHING = """
class Own(nn.Linear):
    def __init__(self, input_shape, num_outputs):
        super().__init__(input_shape[0], num_outputs)
    def forward(self, x):
        return super().forward(x) * (2 if x.sum() > 0 else 1)
"""
DOUBLED = """
class Own(SyntheticClassification):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0] * 2, batch[1]
"""


@pytest.mark.parametrize(
    ("group", "code", "why"),
    [
        pytest.param("model", BRANCHING, "model: it can't be stacked: ", marks=pytest.mark.slow),
        ("data", DOUBLED, "data: Own makes batches of its own, or sees each on its way"),
    ],
)
def test_own_code_that_can_not_be_stacked_runs_alone(group, code, why, command, tmp_path):
    imports = "from torch import nn\nfrom gradloop.data.synthetic_classification import SyntheticClassification\n"
    (tmp_path / "here" / f"own_{group}.py").write_text(imports + code)
    ended = command("-m", *SYNTHETIC, f"{group}._target_=own_{group}.Own", "seed=0,1", "sweep.plan=true")
    assert ended.code == 0, ended.err
    assert f"runs 0 to 1: alone: {why}" in ended.out


def test_the_plan_of_a_search_shows_what_is_asked_for_at_once(command):
    searching = ["sweep=optuna", "sweep.n_trials=9", "sweep.sampler.startup=4", "seed=0"]
    ended = command("-m", *SYNTHETIC, *searching, "sweep.plan=true")
    assert ended.code == 0, ended.err
    assert "runs 0 to 3: as one" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model.dropout=0.1"], "alone: model: Dropout (2) would draw other numbers in a stack"),
        (["optimizer=muon", "~optimizer.fused"], "alone: optimizer: Muon looks at more than each weight by itself"),
        (["callbacks=gradients"], "alone: callbacks: Gradients watches one run"),
        (["sweep.population=off"], "alone: sweep.population=off"),
        (TIMED, "alone: an objective is a run's own duration"),
        ([], "runs 0 to 3: as one"),
        (["sweep.population=2"], "runs 0 to 3: as one, 2 at once"),
    ],
)
def test_the_plan_says_what_is_trained_as_one_and_why_others_not(command, tmp_path, arguments, said):
    ended = command("-m", *SYNTHETIC, "seed=range(4)", "sweep.plan=true", *arguments)
    assert ended.code == 0, ended.err
    assert said in ended.out
    assert not list(tmp_path.glob("here/outputs/sweeps/*"))


def test_what_differs_in_more_than_numbers_forms_groups_of_its_own(command):
    given = ["model.hidden_dims=[8],[16]", "seed=0,1", "sweep.population=4", "sweep.plan=true"]
    ended = command("-m", *SYNTHETIC, *given)
    assert "runs 0 to 1: as one" in ended.out
    assert "runs 2 to 3: as one" in ended.out


def test_the_plan_of_a_search_names_a_setting_once(command):
    ended = command("-m", *SYNTHETIC, "sweep=random", "sweep.n_trials=6", "optimizer.lr=0.01,0.02", "sweep.plan=true",
                    "seed=0")  # fmt: skip
    assert ended.code == 0, ended.err
    assert "runs 0 to 1: as one\n" in ended.out


@pytest.mark.slow
def test_a_search_asks_for_several_settings_at_once(tmp_path):
    searching = ["sweep=optuna_pruned", "sweep.n_trials=6", "sweep.sampler.startup=3", "sweep.startup_trials=2"]
    sweep = swept(tmp_path, "sweep", *SYNTHETIC, *searching, "seed=0", "sweep.population=6")
    found = records(sweep)
    assert len(found) == 6
    assert {record["population"]["size"] for record in found} == {3}
    assert {record["status"] for record in found} <= {"completed", "pruned"}


@pytest.mark.slow
def test_a_refused_setting_does_not_keep_the_others_from_running(tmp_path):
    sweep = swept(tmp_path, "sweep", *SYNTHETIC, "scheduler=one_cycle", "scheduler.total_steps=10,100,200", code=1)
    statuses = [record["status"] for record in records(sweep)]
    assert statuses == ["failed", "completed", "completed"]
    assert "scheduler.total_steps=10" in records(sweep)[0]["reason"]


def test_the_plan_names_the_runs_that_would_fail_alone(command):
    given = ["optimizer=sgd", "scheduler=one_cycle", "scheduler.total_steps=10,100,200", "seed=0", "sweep.plan=true"]
    ended = command("-m", *SYNTHETIC[:1], "trainer.max_epochs=2", *given)
    assert ended.code == 2
    assert "\nrun 0: would fail: scheduler.total_steps=10: the run has 50 steps" in ended.out
    assert "\nruns 1 to 2: as one\n" in ended.out


@pytest.mark.slow
def test_runs_whose_data_have_other_sizes_form_stacks_of_their_own(tmp_path):
    dice = random.Random(0)
    rows = [f"{dice.random():.3f},{dice.random():.3f},{dice.randrange(12) ** 2 // 12},{k % 3}" for k in range(240)]
    (tmp_path / "g.csv").write_text("\n".join(["a,b,g,c", *rows]) + "\n")
    table = ["data=csv", f"data.file={tmp_path / 'g.csv'}", "data.target=c", "data.group=g", "data.task=multiclass"]
    given = [*table, *QUIET, "trainer.max_epochs=2", "seed=0,1", "data.random_state=1,2,3", "sweep.population=9"]
    found = records(swept(tmp_path, "sweep", *given))
    sizes: dict[str, list[Any]] = {}
    for record in found:
        sizes.setdefault(str(record["data"]["samples"]), []).append(record.get("population", {}).get("size"))
    assert len(sizes) > 1
    assert all(each == [len(each)] * len(each) for each in sizes.values()), sizes


def test_a_run_that_ended_just_before_its_sweep_was_killed_has_its_session(tmp_path):
    sweep = make_sweep(tmp_path, [({"optimizer.lr": 0.1}, 0, 0.5, "completed")])
    folder = event_folder(sweep.job_folder(sweep.jobs[0]))
    file = EventFile(folder)
    file.log_metrics({"loss": 1.0}, 1)
    file.save()
    for _ in range(2):
        write_sessions(sweep)
    (path,) = folder.glob("events.out.tfevents.*")
    assert path.read_bytes().count(b"_hparams_/session_end_info") == 1


@pytest.mark.slow
def test_a_member_that_diverges_says_so_in_its_own_log_alone(tmp_path):
    sweep = swept(tmp_path, "sweep", *DIVERGING, code=1)
    diverged = [record for record in records(sweep) if record["status"] == "diverged"]
    assert len(diverged) == 1
    assert diverged[0]["reason"].startswith("diverged at step 1 (epoch 1): ")
    told = [Path(r["folder"]).joinpath("train.log").read_text().count("the run ended early") for r in records(sweep)]
    assert told == [int(record["status"] == "diverged") for record in records(sweep)]


def test_an_own_load_that_looks_at_its_seed_has_rows_of_its_own() -> None:
    from gradloop.data.digits import Digits

    class Same(Digits):
        pass

    class Noisy(Digits):
        def load(self) -> Any:
            return super().load()

    assert (Digits.seeded_rows, Same.seeded_rows, Noisy.seeded_rows) == (False, False, True)


def test_a_members_record_tells_of_its_own_data(tmp_path: Any) -> None:
    given = [*SYNTHETIC, "data.random_state=1,2", "seed=0", "trainer.max_epochs=1", f"output_dir={tmp_path}"]
    folder = gradloop.sweep([*given, "sweep.population=2"]).folder
    records = [read_record(folder / str(number)) for number in range(2)]
    assert [record["population"]["size"] for record in records] == [2, 2]
    assert [record["data"]["source"]["random_state"] for record in records] == [1, 2]
