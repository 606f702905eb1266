"""What one knob switches off or overrules, another can't ask for: it is said, and nothing is created."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.errors import ConfigError
from gradloop.runs.history import read_history
from one_line import assert_one_line

DIGITS = ["data=digits", "trainer.max_epochs=2", "seed=0", "logger=none", "callbacks.curves=null"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("augmentation.cutout.side=4", ["augmentation.cutout.side", "cutout is off"]),
        ("augmentation=cutout augmentation.cutout.side=3 augmentation.cutout.fraction=0.5", ["fraction", "side"]),
        ("augmentation.random_crop.mode=edge", ["random_crop.mode", "random_crop.padding"]),
        ("augmentation.random_crop.size_epochs=1", ["size_epochs", "random_crop.size"]),
        ("augmentation.horizontal_flip={alternating:true} augmentation.horizontal_flip.probability=0.9", ["second"]),
        ("scheduler=one_cycle scheduler.max_lr=0.05 optimizer.lr=0.7", ["optimizer.lr", "scheduler.max_lr"]),
        ("scheduler=one_cycle optimizer=sgd optimizer.momentum=0.5", ["optimizer.momentum", "cycle_momentum"]),
        ("+trainer.gradient_clip_algorithm=value", ["gradient_clip_algorithm", "gradient_clip_val"]),
        ("folds=5 data.fold=0 data.test_fraction=0.5", ["data.test_fraction", "folds"]),
        ("trainer.overfit_batches=1 trainer.limit_train_batches=7", ["limit_train_batches=7", "overfit_batches"]),
        ("-m callbacks=lr_finder optimizer.lr=1e-3,1e-2", ["optimizer.lr", "callbacks=lr_finder finds it"]),
        ("optimizer.groups={1:{lr:0.01},3:{lr:0.02},bias:{lr:0.5}}", ["optimizer.groups.bias", "groups before it"]),
        ("callbacks=freeze callbacks.freeze.from_epoch=10", ["freeze.from_epoch=10", "until_epoch=5"]),
        ("callbacks=freeze callbacks.freeze.layers=[]", ["callbacks.freeze.layers=[]", "freezes nothing"]),
        ("callbacks=freeze model=linear", ["callbacks.freeze", "one layer"]),
        ("augmentation={cutout:{side:4}}", ["augmentation={cutout:{side:4}}", "cutout is off"]),
        ("optimizer/lr=0.1", ["'optimizer/lr': no such key"]),
        ("callbacks=[ema,swa]", ["EMA and SWA", "choose one"]),
        ("+callbacks.checkpoints.monitor=val/loss", ["callbacks.checkpoints.monitor"]),
        ("data={shuffle:no}", ["data.shuffle=no", "true or false"]),
        ("data={batch_size:16.5}", ["data.batch_size=16.5"]),
        ("-m sweep.batch=2 optimizer.lr=0.1,0.2", ["sweep.batch", "grid"]),
        ("-m sweep={plan:no} optimizer.lr=0.1,0.2", ["sweep.plan=no"]),
        (
            "-m sweep=optuna sweep.n_trials=2 sweep.startup_trials=1 optimizer.lr=0.1,0.2",
            ["startup_trials", "pruner"],
        ),
        ("augmentation.random_crop.size=6", ["random_crop.size=6", "SimpleNN does not take"]),
        ("callbacks=throughput logger=none", ["callbacks=throughput", "there is none"]),
        ("callbacks=[ema,throughput] logger.tensorboard=null", ["callbacks=[ema,throughput]", "there is none"]),
        ("lang=ko", ["lang=ko", "experiment=lesson/"]),
        ("data.sampling=balanced loss=cross_entropy loss.weight=balanced", ["balance the classes", "leave one out"]),
        ("scheduler=one_cycle optimizer.betas=[0.8,0.95]", ["optimizer.betas", "cycle_momentum"]),
        (
            "data=csv data.file=t.csv data.target=y data.time=day data.random_state=7",
            ["data.random_state", "data.time"],
        ),
        ("data=image_folder data.root=x data.cache=false data.cache_dir=y", ["data.cache_dir", "data.cache=false"]),
        ("model=fast_resnet model.stem_width=64", ["model.stem_width", "model.stem=convolution"]),
        ("-m seeds=3 sweep.seeds=2", ["seeds=3", "sweep.seeds=2"]),
        ("-m seeds=[1,2] seed=7", ["seed=7", "seeds=[1, 2]"]),
    ],
)
def test_a_knob_that_could_not_matter_is_refused(line: str, words: list[str], command, tmp_path: Path) -> None:
    if "optuna" in line:
        pytest.importorskip("optuna")
    assert_one_line(
        command(*DIGITS[1 if "data=" in line else 0 : 2], *([] if "seed" in line else DIGITS[2:3]), *line.split()),
        2,
        words,
    )
    assert not list((tmp_path / "here").rglob("summary.json"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in float16")
def test_half_precision_of_gpus_is_refused_on_a_processor(command) -> None:
    refused = command(*DIGITS[:3], "trainer.precision=16-mixed")
    assert_one_line(refused, 2, ["trainer.precision=16-mixed", "bf16-mixed"])


def test_a_recording_that_would_begin_after_the_end_is_told(command) -> None:
    ended = command(*DIGITS[:3], "debug=profile", "callbacks.profile.skip=9999")
    assert "warning: callbacks.profile.skip=9999: nothing is recorded, the run ended at step " in ended.err


def test_a_pruner_and_an_objective_have_one_aim(command) -> None:
    pytest.importorskip("optuna")
    searching = ["sweep=optuna_pruned", "sweep.n_trials=2", "optimizer.lr=0.1,0.2", "sweep.directions=[minimize]"]
    ended = command("-m", *DIGITS[:3], *searching, "sweep.objectives=[val/loss]")
    assert ended.code == 2
    assert ended.err.startswith("error: sweep.objectives=[val/loss]: sweep.pruner ends runs by what they monitor")
    assert command("-m", *DIGITS[:3], *searching, "sweep.objectives=[val/loss]", "monitor=val/loss").code == 0


def test_the_last_of_a_value_and_a_group_of_values_holds(tmp_path: Path) -> None:
    given = [*DIGITS[:3], f"output_dir={tmp_path}", "optimizer.lr=0.1", "optimizer={lr:0.5}"]
    assert read_history(Path(gradloop.train(given)["folder"]))[-1]["lr"] == 0.5


def test_limits_count_batches_of_tables_as_of_pictures(tmp_path: Path) -> None:
    limits = ["trainer.limit_val_batches=1", "trainer.limit_test_batches=0.5", "data.batch_size=32"]
    table = [*DIGITS[1:], "data=synthetic_classification", f"output_dir={tmp_path}"]
    whole, some = gradloop.train(table), gradloop.train([*table, *limits])
    assert some["metrics"]["val/accuracy"] * 32 == pytest.approx(round(some["metrics"]["val/accuracy"] * 32))
    assert some["metrics"]["test/loss"] != whole["metrics"]["test/loss"]
    swept = gradloop.sweep([*table, *limits, "optimizer.lr=1e-3,1e-2", "sweep.population=2"])
    alone = gradloop.sweep([*table, *limits, "optimizer.lr=1e-3,1e-2", "sweep.population=off"])
    said = ("optimizer.lr", "val/accuracy", "test/loss", "test/accuracy")
    assert [[row[name] for name in said] for row in swept.rows] == [[row[n] for n in said] for row in alone.rows]


def test_settings_that_do_not_go_together_are_refused(command) -> None:
    ended = command("+trainer.min_epochs=60")
    assert ended.code == 2
    assert "trainer.min_epochs=60: more than trainer.max_epochs=20" in ended.err


def test_one_batch_is_overfitted(tmp_path: Path) -> None:
    given = [*DIGITS[:-1], f"output_dir={tmp_path}", "trainer.overfit_batches=1", "trainer.max_epochs=80"]
    run = gradloop.train([*given, "optimizer.lr=0.01", "data.batch_size=16"])
    assert read_history(Path(run["folder"]))[-1]["train/loss"] < 0.05
    assert run["metrics"]["test/accuracy"] < 0.8  # it has seen one batch alone


def test_a_comparison_knows_which_way_an_own_metric_is_better(tmp_path: Path, command) -> None:
    own = "metrics.hamming._target_=torchmetrics.HammingDistance"
    folders = [
        gradloop.train([*DIGITS, f"output_dir={tmp_path}", own, f"optimizer.lr={rate}"])["folder"]
        for rate in (0.001, 0.02)
    ]
    out = command(*folders, "--metric", "test/hamming", program="compare").out
    rows = [line for line in out.splitlines() if "best" in line]
    assert "0.02" in rows[0]


def test_what_ends_by_steps_is_validated(tmp_path: Path) -> None:
    given = [*DIGITS[:1], "seed=0", "logger=none", "trainer.max_steps=10", "trainer.check_val_every_n_epoch=2"]
    run = gradloop.train([*given, f"output_dir={tmp_path}"])
    assert run["best"]["value"] is not None


def test_going_on_with_less_or_with_other_limits_is_refused(tmp_path: Path) -> None:
    run = gradloop.train([*DIGITS, f"output_dir={tmp_path}"])
    more = f"resume={run['folder']}"
    with pytest.raises(ConfigError, match=r"trainer.max_epochs=1: the run has trained for 2 already"):
        gradloop.train([more, "trainer.max_epochs=1"])
    with pytest.raises(ConfigError, match=r"limit_train_batches: 1.0 -> 1\)"):
        gradloop.train([more, "trainer.max_epochs=3", "trainer.limit_train_batches=1"])
    again = gradloop.train([more, "trainer.max_epochs=3", "~callbacks.progress", "logger=csv"])
    assert again["epochs"] == 3
