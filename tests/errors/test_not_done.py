"""What the grammar takes and a command would not do: refused in one line, before anything is created."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from one_line import assert_one_line, listing

LONG = "x" * 300

# (command line, exit code, words that the line must hold)
MISTAKES: list[tuple[str, int, list[str]]] = [
    ("hydra.job.chdir=true", 2, ["hydra.job.chdir=True", "working directory"]),
    ("hydra.verbose=true", 2, ["hydra.verbose=True", "HYDRA_FULL_ERROR=1"]),
    ("hydra.output_subdir=x", 2, ["hydra.output_subdir=x", ".hydra"]),
    ("hydra.mode=MULTIRUN", 2, ["hydra.mode", "-m"]),
    ("hydra.sweep.subdir=x", 2, ["hydra.sweep.subdir=x", "numbers"]),
    ("hydra.sweep.dir=x", 2, ["hydra.sweep.dir=x", "add -m"]),
    ("hydra/launcher=slurm", 2, ["hydra/launcher=slurm", "add -m"]),
    ("+hydra.job.env_set.A=1", 2, ["hydra.job.env_set={A: 1}"]),
    ("seeds=3", 2, ["seeds=3", "add -m"]),
    ("sweep=optuna", 2, ["sweep=optuna", "add -m"]),
    ("sweep.seeds=3", 2, ["sweep.seeds=3", "add -m"]),
    ("-m seed=1,2 hydra.job.chdir=true", 2, ["hydra.job.chdir=True"]),
    ("-m seed=1,2 hydra.verbose=true", 2, ["hydra.verbose=True"]),
    ("-m seed=1,2 hydra.sweep.subdir=${name}", 2, ["hydra.sweep.subdir=${name}", "numbers"]),
    ("-m hydra.job.chdir=false,true", 2, ["hydra.job.chdir=True"]),
    ("-m seed=1,2 hydra.run.dir=x", 2, ["hydra.run.dir=x", "hydra.sweep.dir"]),
    ("+sweep.n_trials=3", 2, ["sweep.n_trials=3", "add -m"]),
    ("-m sweep=random +sweep.n_trails=3", 2, ["'sweep.n_trails'", "'n_trials'"]),
    ("+augmentation.cutot.side=3", 2, ["'augmentation.cutot'", "'cutout'"]),
    ("augmentation=flip", 2, ["augmentation=flip: data=synthetic_classification", "cifar10, digits, image_folder"]),
    ("data=linear_regression augmentation.cutout.count=2", 2, ["augmentation: data=linear_regression", "digits"]),
    ("-m seed=1,2 augmentation=mixup", 2, ["augmentation=mixup: data=synthetic_classification"]),
    ("trainer.check_val_every_n_epoch=21", 2, ["check_val_every_n_epoch=21", "max_epochs=20", "limit_val_batches=0"]),
    ("trainer.strategy=ddp_spawn", 2, ["trainer.strategy=ddp_spawn", "use ddp"]),
    ("trainer.strategy=ddp_notebook trainer.devices=2", 2, ["trainer.strategy=ddp_notebook", "use ddp"]),
    ("trainer.strategy=ddp_fork_find_unused_parameters_true", 2, ["trainer.strategy=ddp_fork", "use ddp"]),
    ("-m seed=1,2 trainer.devices=2 trainer.strategy=ddp_spawn", 2, ["trainer.strategy=ddp_spawn", "use ddp"]),
    ("trainer.max_epochs=1e20", 2, ["trainer.max_epochs=1e+20", "whole number"]),
    ("trainer.max_epochs=100000000000000000000", 2, ["64 bits"]),
    ("trainer.max_epochs=1000000000000", 2, ["trainer.max_epochs=1000000000000", "1000000000"]),
    ("trainer.max_steps=99999999999999999999", 2, ["trainer.max_steps=", "64 bits"]),
    (f"name={LONG}", 2, ["name="]),
    (f"output_dir={LONG}", 4, ["more than this system takes"]),
    (f"output_dir={'a/' * 1990}", 4, ["more than this system takes"]),
    (f"output_dir={'a/' * 2500}", 4, ["more than this system takes"]),
    (f"hydra.run.dir={LONG}", 4, ["more than this system takes"]),
    (f"resume={LONG}", 4, ["xxx…", "300 characters"]),
    (f"--config-dir={LONG}", 4, ["xxx…", "300 characters"]),
    (f"data=image_folder data.root={LONG}", 4, ["xxx…", "300 characters"]),
    (f"-m seed=1,2 output_dir={LONG}", 4, ["more than this system takes"]),
    (f"-m seed=1,2 sweep.resume={LONG}", 4, ["longer than this system takes"]),
]


@pytest.mark.parametrize(("line", "code", "words"), MISTAKES, ids=[line[:50] for line, _, _ in MISTAKES])
def test_what_would_be_ignored_is_refused(line, code, words, command, tmp_path):
    before = listing(tmp_path)
    assert_one_line(command(*line.split()), code, words)
    assert listing(tmp_path) == before


def test_a_sweep_over_tables_needs_no_augmentation(command):
    quick = ["trainer.max_epochs=1", "callbacks=none", "logger=none", "test=false"]
    assert command("-m", "seed=1,2", *quick).code == 0
    ended = command("-m", "augmentation=none,flip", *quick)
    assert ended.code == 1
    assert "augmentation=flip: data=synthetic_classification takes no augmentation" in ended.out + ended.err


def test_no_validation_needs_no_epoch_to_validate_in(command):
    quick = ["trainer.max_epochs=1", "callbacks=none", "logger=none", "test=false"]
    late = "trainer.check_val_every_n_epoch=2"
    assert_one_line(command(late, *quick), 2, [late])
    assert command(late, "trainer.limit_val_batches=0", *quick).code == 0
    assert command(late, "debug=fast_dev_run", *quick).code == 0


@pytest.mark.parametrize("name", ["train", "commands.evaluate", "commands.explain", "commands.compare"])
def test_python_m_is_the_command(name, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"gradloop.{name}", "--nope"],
        capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--nope" in done.stderr or "required" in done.stderr


def test_other_commands_take_nothing_of_hydras(tmp_path, monkeypatch, capsys):
    from gradloop.commands.evaluate import main

    monkeypatch.setattr(sys, "argv", ["gradloop-evaluate", "run=x", "hydra.job.chdir=true"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "gradloop-evaluate makes no run" in capsys.readouterr().err
