"""What every knob accepts is known without torch, and nothing is refused that is not gradloop's to refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradloop.config.check import check_config
from gradloop.config.compose import compose_config
from gradloop.errors import ConfigError


@pytest.mark.parametrize(("share", "at_least"), [(0.08, 10), pytest.param(1, 500, marks=pytest.mark.slow)])
def test_every_knob_of_every_file_is_checked_without_torch(share, at_least, tmp_path):
    """A part of them is drawn anew each time; what fails says by which seed."""
    program = Path(__file__).parent / "every_knob.py"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [sys.executable, program, str(share)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
    assert int(done.stderr.split()[-2]) > at_least
    assert list(tmp_path.iterdir()) == []


FINE = [
    "callbacks=freeze callbacks.freeze.until_epoch=null", "callbacks=lr_finder callbacks.lr_finder.stop_above=null",
    "trainer.devices=[0,1]", "trainer.devices=auto", "trainer.max_time=00:01:30:00", "threads=2", "threads=auto",
    "trainer.profiler=simple", "trainer.strategy=ddp_find_unused_parameters_true", "trainer.limit_val_batches=0",
    "data=cifar10 data.image_size=[32,24] data.in_memory=false", "data=cifar10 data.image_size=24",
    "data=cifar10 data.mean=[0.5,0.5,0.5] data.std=[0.2,0.2,0.2]", "seeds=3", "seeds=[1,2]", "monitor_mode=max",
    "sweep=optuna_pruned sweep.pruner=null sweep.objectives=[test/loss] sweep.directions=[minimize]",
    "model._target_=my_models.Net model.activation=swish model.hidden_dims=[0]",
    "data._target_=my_data.Data data.classes=1 +data.device=tpu", "name=2024", "optimizer.weight_decay=0",
]  # fmt: skip


@pytest.mark.parametrize("line", FINE)
def test_what_is_fine_passes(line):
    config, reference = compose_config(line.split())
    check_config(config, reference, ("my_models", "my_data"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("model.activation=rel", "model.activation=rel: expected one of relu, .*; did you mean 'relu'"),
        ("model=fast_resnet model.activation=tanh", "expected one of relu, gelu, silu, celu"),
        (
            "data=digits augmentation=cutout augmentation.cutout.probability=2",
            r"^augmentation\.cutout\.probability=2: expected 0 to 1",
        ),
        ("data=digits augmentation.cutout.side=0", r"^augmentation\.cutout\.side=0: expected 1 or more"),
        ("callbacks=ema callbacks.ema.decay=1.5", "above 0 and below 1"),
        ("threads=many", "auto, or 1 to 1024"),
        ("trainer.accelerator=gpuu", "did you mean 'gpu'"),
        ("+optimizer.momentum=fast", "at least 0 and below 1"),
        ("data=cifar10 data.image_size=[1,2,3]", r"\[height,width\]"),
        ("sweep=optuna sweep.directions=[up]", r"sweep\.directions\[0\]=up: expected maximize or minimize"),
    ],
)
def test_the_line_says_what_is_expected(line, said):
    with pytest.raises(ConfigError, match=said):
        check_config(*compose_config(line.split()))
