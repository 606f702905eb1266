"""Runs that a sweep trains as one end as each of them does alone, to the bit, whatever becomes of the others."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.record import Record, read_record
from processes import Child, until

QUIET = [f"callbacks.{name}=null" for name in ("progress", "curves", "tensorboard", "pictures")]
SYNTHETIC = ["experiment=synthetic_classification", "trainer.max_epochs=4", *QUIET]
SHUFFLED = [*SYNTHETIC, "data.shuffle=true", "data.validate_on_test=false"]
RATES = ["optimizer.lr=1e-3,1e-2", "seed=0,1"]
TOLD = ("status", "reason", "exit_code", "metrics", "best", "epochs", "found", "signature", "monitor", "data")
CASES = {
    "experiment": [*SYNTHETIC, *RATES],
    "digits_fused_adam": ["experiment=digits", "trainer.max_epochs=2", *QUIET, *RATES],
    "small_products": ["experiment=linear_regression", "trainer.max_epochs=40", *QUIET, *RATES],
    "nesterov_by_step": [*SHUFFLED, "optimizer=sgd", "optimizer.momentum=0.5,0.9", "optimizer.nesterov=true",
                         "scheduler=cosine", "seed=0,1"],
    "adamw_by_epoch_clipped": [*SHUFFLED, "optimizer=adamw", "optimizer.weight_decay=0.0,0.1", "scheduler=step",
                               "scheduler.step_size=2", "trainer.gradient_clip_val=0.05,1.0"],
    "accumulation_one_cycle": [*SHUFFLED, "trainer.accumulate_grad_batches=3", "scheduler=one_cycle", *RATES],
    "smoothing_and_data": [*SHUFFLED, "loss=cross_entropy", "loss.label_smoothing=0.0,0.2", "data.random_state=1,2"],
    "ema_early_stopping": [*SHUFFLED, "callbacks=[ema,early_stopping]", "callbacks.early_stopping.patience=1",
                           "trainer.max_epochs=8", "optimizer.lr=1e-3,1e-1", "seed=0,1,2"],
    "betas_and_eps": [*SHUFFLED, "optimizer.betas=[0.9,0.999],[0.8,0.99]", "optimizer.eps=1e-8,1e-4", "seed=0"],
    "steps_and_gamma": [*SHUFFLED, "scheduler=step", "scheduler.step_size=1,2", "scheduler.gamma=0.1,0.5", "seed=0"],
    "clipped_values_two_best": [*SHUFFLED, "trainer.gradient_clip_val=0.01,0.1", "seed=0,1",
                                "+trainer.gradient_clip_algorithm=value", "callbacks.checkpoints.save_top_k=2"],
    "plateau": [*SHUFFLED, "+scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", *RATES],
    "balanced_data_seeds": [*SHUFFLED, "data.sampling=balanced", "data.seed=1,2", "seed=0,1"],
    "diverging": [*SYNTHETIC, "optimizer=sgd", "optimizer.lr=1e-2,1e30,1e-1,1e-3", "seed=0"],
}  # fmt: skip


def swept(root: Path, name: str, *arguments: str, code: int = 0) -> Path:
    """Run a sweep; return its folder."""
    folder = root / name
    given = {line.split("=")[0]: line for line in arguments}  # of a key that is given twice, the last
    child = Child(["-m", *given.values(), f"hydra.sweep.dir={folder}"], root / f"{name}.log")
    assert child.wait(timeout=280) == code, child.output()
    return folder


def records(sweep: Path) -> list[Record]:
    count = len(json.loads((sweep / "sweep.json").read_text())["jobs"])
    return [read_record(sweep / str(number)) for number in range(count)]


def content(run: Path, name: str) -> Any:
    """What a checkpoint holds, but for times and the lengths of event files."""
    path = run / "checkpoints" / f"{name}.ckpt"
    if not path.exists():
        return None
    found = read_checkpoint(path)
    for key in ("seconds", "event_files", "recipe"):
        found["gradloop"].pop(key, None)
    for *_, payload in found.get("callbacks", {}).get("Checkpoints", {}).get("best", []):
        payload["gradloop"].pop("recipe", None)
    if (found["gradloop"].get("position") or {}).get("step") and found["gradloop"]["history"] == []:
        found.pop("global_step")  # Lightning's count, of a run that ended inside its first epoch
    return found


def assert_same(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(other, one, rtol=0, atol=0, equal_nan=True, msg=lambda text: f"{where}: {text}")
    else:
        assert one == other or (one != one and other != other), where


def assert_as_alone(together: Path, alone: Path, *, exact: bool = True) -> None:
    for one, other in zip(records(together), records(alone), strict=True):
        assert one["population"]["exact"] is exact
        assert "population" not in other
        assert_same({key: other.get(key) for key in TOLD}, {key: one.get(key) for key in TOLD}, "record")
        folders = Path(other["folder"]), Path(one["folder"])
        for name in ("best", "last"):
            assert_same(*(content(folder, name) for folder in folders), name)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a sweep with default settings, trained as one and run by run."""
    root = tmp_path_factory.mktemp("both")
    arguments = ["experiment=synthetic_classification", "trainer.max_epochs=3", *RATES]
    return swept(root, "together", *arguments), swept(root, "alone", *arguments, "sweep.population=off")


@pytest.mark.slow
def test_with_default_settings_a_member_is_as_its_lone_run(both):
    together, alone = both
    assert_as_alone(together, alone)
    for number in range(4):
        one, other = together / str(number), alone / str(number)
        assert {*read_record(one)} == {*read_record(other), "population"}
        assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
        assert files(one) == files(other)
        assert shown(one) == shown(other)


def files(run: Path) -> set[str]:
    """The files of a run: the first of several in one job has what they print."""
    found = {path.relative_to(run) for path in run.rglob("*") if path.is_file() and path.name != "output.log"}
    return {str(path.with_name("events") if "tfevents" in path.name else path) for path in found}


def shown(run: Path) -> list[tuple[int, str, Any]]:
    """What TensorBoard shows of a run, but for when it was measured."""
    events = [event for file in run.rglob("*tfevents*[0-9]") for event in EventFileLoader(str(file)).Load()]
    found = [(event.step, value) for event in events for value in event.summary.value]
    numbers = [(step, v.tag, v.tensor.float_val[:]) for step, v in found if v.tensor.float_val]
    assert len(numbers) > 10
    return sorted([*numbers, *((step, value.tag, None) for step, value in found if not value.tensor.float_val)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "options"),
    [
        ("evaluate", ["export=safetensors"]),
        pytest.param("explain", [], marks=pytest.mark.slow),
    ],
)
def test_the_commands_can_not_tell_a_member_from_a_lone_run(both, command, program, options):
    said = []
    for sweep in both:
        ended = command(f"run={sweep / '3'}", *options, program=program)
        assert ended.code == 0, ended.err
        said.append(re.sub(r"[\d.]+ (ms|s)\b", "", ended.out.replace(str(sweep), "sweep")))
    if program == "evaluate":
        assert said[0] == said[1]


def test_compare_takes_members_and_lone_runs_together(both, command):
    ended = command(str(both[0]), str(both[1] / "3"), program="compare")
    assert ended.code == 0, ended.err
    assert "5 runs: 5 completed" in ended.out


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


@pytest.mark.slow
def test_a_network_that_vmap_refuses_runs_alone(command, tmp_path):
    (tmp_path / "here" / "branching.py").write_text(
        "from torch import nn\n"
        "class Branching(nn.Linear):\n"
        "    def __init__(self, input_shape, num_outputs):\n"
        "        super().__init__(input_shape[0], num_outputs)\n"
        "    def forward(self, x):\n"
        "        return super().forward(x) * (2 if x.sum() > 0 else 1)\n"
    )
    ended = command("-m", *SYNTHETIC, "model._target_=branching.Branching", "seed=0,1", "sweep.plan=true")
    assert ended.code == 0, ended.err
    assert "runs 0 to 1: alone: model: it can't be stacked: " in ended.out


def test_the_plan_of_a_search_shows_what_is_asked_for_at_once(command):
    searching = ["sweep=optuna", "sweep.n_trials=9", "sweep.sampler.startup=4", "seed=0"]
    ended = command("-m", *SYNTHETIC, *searching, "sweep.plan=true")
    assert ended.code == 0, ended.err
    assert "runs 0 to 3: as one" in ended.out


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_runs_trained_as_one_end_as_each_does_alone(tmp_path, case):
    code = int(case == "diverging")
    together = swept(tmp_path, "together", *CASES[case], code=code)
    alone = swept(tmp_path, "alone", *CASES[case], "sweep.population=off", code=code)
    assert_as_alone(together, alone)


@pytest.mark.slow
def test_a_thousand_epochs_of_the_tutorials_line_have_the_bits_of_lone_runs(tmp_path):
    arguments = ["experiment=linear_regression", *QUIET, "logger=none", "optimizer.lr=1e-3,1e-2", "seed=range(3)"]
    assert_as_alone(
        swept(tmp_path, "together", *arguments), swept(tmp_path, "alone", *arguments, "sweep.population=off")
    )


@pytest.mark.slow
def test_where_a_stack_rounds_otherwise_the_record_says_so_and_exact_runs_alone(tmp_path):
    binary = [*SHUFFLED, "data.task=binary", "loss=auto", *RATES]
    together = swept(tmp_path, "together", *binary, "sweep.population=4")
    alone = swept(tmp_path, "alone", *binary)  # auto is exact or nothing
    for one, other in zip(records(together), records(alone), strict=True):
        if not one["population"]["exact"]:  # as torch's kernels are on this processor
            assert "population" not in other
            for name in one["metrics"]:
                assert one["metrics"][name] == pytest.approx(other["metrics"][name], rel=1e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_population_that_is_stopped_goes_on_to_the_bit(tmp_path, number):
    often = [*SHUFFLED, "callbacks=ema", "trainer.max_epochs=60", "callbacks.checkpoints.every_seconds=0.1", *RATES]
    cut = tmp_path / "cut"
    child = Child(["-m", *often, f"hydra.sweep.dir={cut}", "sweep.retries=0"], tmp_path / "cut.log")
    until(lambda: child.ended() or len(list(cut.glob("*/checkpoints/last.ckpt"))) == 4)
    assert not child.ended(), child.output()
    os.kill(read_record(cut / "0")["pid"] if number == signal.SIGKILL else child.pid, number)
    assert child.wait(timeout=120) != 0, child.output()
    statuses = [record["status"] for record in records(cut)]
    assert statuses == (["failed"] if number == signal.SIGKILL else ["interrupted"]) * 4
    again = Child(["-m", *often, f"sweep.resume={cut}"], tmp_path / "again.log")
    assert again.wait(timeout=240) == 0, again.output()
    assert_as_alone(cut, swept(tmp_path, "alone", *often, "sweep.population=off"))


@pytest.mark.slow
def test_a_member_is_an_ordinary_run_that_goes_on_alone(tmp_path):
    sweep = swept(tmp_path, "sweep", *SHUFFLED, *RATES)
    whole = swept(tmp_path, "whole", *SHUFFLED, "trainer.max_epochs=6", *RATES, "sweep.population=off")
    going_on = Child([f"resume={sweep / '2'}", "trainer.max_epochs=6"], tmp_path / "resume.log")
    assert going_on.wait(timeout=120) == 0, going_on.output()
    assert_same(content(whole / "2", "last"), content(sweep / "2", "last"))
    assert read_record(sweep / "2")["metrics"] == read_record(whole / "2")["metrics"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model.dropout=0.1"], "alone: model: Dropout (2) would draw other numbers in a stack"),
        (["optimizer=muon", "~optimizer.fused"], "alone: optimizer: Muon looks at more than each weight by itself"),
        (["callbacks=gradients"], "alone: callbacks: Gradients watches one run"),
        (["sweep.population=off"], "alone: sweep.population=off"),
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
    ended = command("-m", *SYNTHETIC, "model.hidden_dims=[8],[16]", "seed=0,1", "sweep.plan=true")
    assert "runs 0 to 1: as one" in ended.out
    assert "runs 2 to 3: as one" in ended.out


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


@pytest.mark.slow
def test_a_member_that_diverges_says_so_in_its_own_log_alone(tmp_path):
    sweep = swept(tmp_path, "sweep", *CASES["diverging"], code=1)
    diverged = [record for record in records(sweep) if record["status"] == "diverged"]
    assert len(diverged) == 1
    assert diverged[0]["reason"].startswith("diverged at step 1 (epoch 1): ")
    told = [Path(r["folder"]).joinpath("train.log").read_text().count("the run ended early") for r in records(sweep)]
    assert told == [int(record["status"] == "diverged") for record in records(sweep)]
