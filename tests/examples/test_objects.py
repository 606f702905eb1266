"""What objects that `gradloop.train` is given come to: they are used as they are, and nothing else changes."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.optim.lr_scheduler import StepLR

import gradloop
from gradloop.runs.history import read_history

TINY = ["data.samples=100", "trainer.max_epochs=1", "logger=none", "callbacks.pictures=null"]


def test_a_callback_sees_the_run_and_random_numbers_go_on_as_before(tmp_path):
    class Counting(pl.Callback):
        def __init__(self) -> None:
            self.epochs: list[int] = []

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            self.epochs.append(trainer.current_epoch)

    def drawn() -> list[Any]:
        return [torch.rand(1).item(), random.random(), np.random.rand()]

    counting, states = Counting(), (torch.get_rng_state(), random.getstate(), np.random.get_state())
    expected = drawn()
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])
    run = gradloop.train([*TINY, "trainer.max_epochs=2", f"output_dir={tmp_path}"], callbacks=counting)
    gradloop.load(run["folder"])
    assert drawn() == expected
    assert counting.epochs == [0, 1]
    gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=3"])
    assert counting.epochs == [0, 1, 2]


def test_an_optimizer_is_a_class_or_a_part_of_one(tmp_path):
    output = f"output_dir={tmp_path}"
    for given, rate in ((torch.optim.Adagrad, 0.01), (partial(torch.optim.SGD, lr=0.3, momentum=0.5), 0.3)):
        run = gradloop.train([*TINY, output], optimizer=given, scheduler=partial(StepLR, step_size=5))
        assert last_rate(run) == rate
        assert last_rate(gradloop.train("trainer.max_epochs=2", resume=run["folder"])) == rate
    assert last_rate(gradloop.train([*TINY, output, "optimizer._target_=torch.optim.RMSprop"])) == 0.01


def last_rate(run: dict[str, Any]) -> float:
    return read_history(Path(run["folder"]))[-1]["lr"]
