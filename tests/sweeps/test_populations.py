"""Runs that a sweep trains as one end as each of them does alone, to the bit, whatever becomes of the others."""

from __future__ import annotations

import math
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.record import read_record
from gradloop.training.population.measures import accuracies
from populations import QUIET, RATES, SHUFFLED, SYNTHETIC, assert_as_alone, assert_same, content, records, swept
from processes import Child, until

CASES = {
    "experiment": [*SYNTHETIC, *RATES],
    "digits_fused_adam": ["experiment=digits", "trainer.max_epochs=2", *QUIET, *RATES],
    "fused_two_classes": ["data=synthetic_classification", "trainer.max_epochs=3", *QUIET, "optimizer.lr=1e-3,1e-2",
                          "seed=range(4)"],
    "fused_momentum": ["data=synthetic_classification", "trainer.max_epochs=3", *QUIET, "optimizer=sgd",
                       "optimizer.momentum=0.5,0.9", "seed=range(4)"],
    "small_products": ["experiment=linear_regression", "trainer.max_epochs=40", *QUIET, *RATES],
    "nesterov_by_step": [*SHUFFLED, "optimizer=sgd", "optimizer.momentum=0.5,0.9", "optimizer.nesterov=true",
                         "scheduler=cosine", "seed=0,1"],
    "adamw_by_epoch_clipped": [*SHUFFLED, "optimizer=adamw", "optimizer.weight_decay=0.0,0.1", "scheduler=step",
                               "scheduler.step_size=2", "trainer.gradient_clip_val=0.05,1.0"],
    "accumulation_one_cycle": [*SHUFFLED, "trainer.accumulate_grad_batches=3", "scheduler=one_cycle", *RATES],
    "smoothing_and_data": [*SHUFFLED, "loss=cross_entropy", "loss.label_smoothing=0.0,0.2", "data.random_state=1,2"],
    "ema_early_stopping": [*SHUFFLED, "callbacks=[ema,early_stopping]", "callbacks.early_stopping.patience=1",
                           "trainer.max_epochs=8", "optimizer.lr=1e-3,1e-1", "seed=0,1,2"],
    "early_stopping_on_training": [*SHUFFLED, "callbacks=early_stopping", "monitor=train/loss", "seed=0,1",
                                   "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=0.05",
                                   "trainer.max_epochs=8", "optimizer.lr=1e-3,1e-1"],
    "betas_and_eps": [*SHUFFLED, "optimizer.betas=[0.9,0.999],[0.8,0.99]", "optimizer.eps=1e-8,1e-4", "seed=0"],
    "steps_and_gamma": [*SHUFFLED, "scheduler=step", "scheduler.step_size=1,2", "scheduler.gamma=0.1,0.5", "seed=0"],
    "clipped_values_two_best": [*SHUFFLED, "trainer.gradient_clip_val=0.01,0.1", "seed=0,1",
                                "+trainer.gradient_clip_algorithm=value", "callbacks.checkpoints.save_top_k=2"],
    "plateau": [*SHUFFLED, "+scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", *RATES],
    "balanced_data_seeds": [*SHUFFLED, "data.sampling=balanced", "data.seed=1,2", "seed=0,1"],
    "diverging": [*SYNTHETIC, "optimizer=sgd", "optimizer.lr=1e-2,1e30,1e-1,1e-3", "seed=0"],
}  # fmt: skip


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
    one, other = (files(sweep / "3") for sweep in both)
    assert one == other


def test_compare_takes_members_and_lone_runs_together(both, command):
    ended = command(str(both[0]), str(both[1] / "3"), program="compare")
    assert ended.code == 0, ended.err
    assert "5 runs: 5 completed" in ended.out


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_runs_trained_as_one_end_as_each_does_alone(tmp_path, case):
    code = int(case == "diverging")
    together = swept(tmp_path, "together", *CASES[case], code=code)
    alone = swept(tmp_path, "alone", *CASES[case], "sweep.population=off", code=code)
    assert_as_alone(together, alone)


@pytest.mark.slow
def test_members_of_other_splits_have_the_columns_that_each_has_learned(tmp_path):
    pytest.importorskip("pyarrow")
    rows = [f"w{row * row % 97},{row % 5},{row % 2}" for row in range(400)]
    (tmp_path / "t.csv").write_text("\n".join(["word,x,y", *rows]) + "\n")
    given = ["data=csv", f"data.file={tmp_path}/t.csv", "data.target=y", "data.random_state=1,2", "seed=0,1", *QUIET]
    given = [*given, "trainer.max_epochs=2"]
    together = records(swept(tmp_path, "together", *given, "sweep.population=4"))
    alone = records(swept(tmp_path, "alone", *given, "sweep.population=off"))
    assert [record["population"]["size"] for record in together] == [4] * 4
    assert [record["data"] for record in together] == [record["data"] for record in alone]
    assert len({tuple(record["data"]["input_names"]) for record in together}) == 2
    for record in together:
        saved = read_checkpoint(Path(record["folder"]) / "checkpoints" / "best.ckpt")["gradloop"]["recipe"]
        assert saved["facts"]["input_names"] == record["data"]["input_names"]


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
        assert one["population"]["exact"] == ("population" in other)
        if not one["population"]["exact"]:  # as torch's kernels are on this processor
            for name in one["metrics"]:
                assert one["metrics"][name] == pytest.approx(other["metrics"][name], rel=1e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_population_that_is_stopped_goes_on_to_the_bit(tmp_path, number):
    often = [*SHUFFLED, "callbacks=ema", "trainer.max_epochs=200", "callbacks.checkpoints.every_seconds=0.1", *RATES]
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
    assert read_record(sweep / "2")["population"] == {"size": 4, "exact": True}  # in which it was trained first


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 100.0, 1e5])
def test_the_accuracy_of_all_members_is_that_of_each_also_where_probabilities_tie(classes, scale):
    logits = scale * torch.randn(40, 50, classes, generator=torch.Generator().manual_seed(0))
    logits[0, :, 0] = logits[0].amax(-1)  # logits that tie, all but tie, and none
    logits[1, :, -1] = logits[1].amax(-1) * (1 + 1e-7)
    logits[2, :, 0], logits[3, :, 1], logits[4, :, 1] = math.inf, -math.inf, math.nan
    for target in range(classes):
        targets = torch.full((40, 50), target)
        alone = [(one.softmax(-1).argmax(-1) == target).float().mean() for one in logits]
        assert torch.equal(accuracies(logits, targets), torch.stack(alone))
