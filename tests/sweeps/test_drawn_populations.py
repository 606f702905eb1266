"""Runs that are drawn anew each time, trained as one and each alone: the same bits, or no stack."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gradloop.config.overrides import quoted
from gradloop.process import tell
from gradloop.runs.planning import Config, plan
from gradloop.runs.record import read_record
from populations import QUIET, TOLD, assert_same, content


def drawn(dice: random.Random) -> list[list[str]]:
    """Return the overrides of two to four small runs, of which some end before the others."""
    kind, shared = dice.choice(["line", "line", "classes", "digits"]), [*QUIET, "logger=none"]
    if kind == "line":
        shared += ["data=linear_regression", "model=linear", f"data.points={dice.choice([5, 8, 16, 30])}"]
        shared += [f"trainer.max_epochs={dice.choice([40, 120])}", f"data.random_state={dice.randrange(1000)}"]
    elif kind == "classes":
        shared += ["data=synthetic_classification", "data.informative=3", "data.redundant=0", "model=linear"]
        shared += [f"data.classes={dice.choice([2, 3])}", f"data.features={dice.choice([3, 6])}"]
        shared += [f"data.batch_size={dice.choice([8, 16, 32])}", "data.samples=100", "trainer.max_epochs=15"]
    else:
        shared += ["data=digits", f"model.hidden_dims=[{dice.choice([16, 64])}]", "trainer.max_epochs=5"]
    shared += [f"optimizer={dice.choice(['sgd', 'adam', 'adamw'])}", f"seed={dice.randrange(2**32)}"]
    shared += dice.choice([[], [f"trainer.accumulate_grad_batches={dice.choice([2, 3])}"]])
    shared += dice.choice(
        [[], ["callbacks=early_stopping", f"callbacks.early_stopping.patience={dice.choice([1, 3])}"]]
    )
    shared += dice.choice([[], ["trainer.gradient_clip_val=0.5"], ["scheduler=cosine"], ["scheduler=step"]])
    rates = dice.sample(["1e-3", "1e-2", "3e-2", "0.1", "1", "1e30"], dice.choice([2, 2, 3, 4]))
    return [[*shared, f"optimizer.lr={rate}"] for rate in rates]


def planned(lines: list[str], folder: Path) -> Config:
    folder.mkdir(parents=True)
    config = plan([*lines, f"hydra.run.dir={quoted(str(folder))}"], None, "train", of_sweep=True)
    return replace(config, place=folder, new=False, overrides=lines)


def apart(work: Callable[[], None], log: Path) -> str:
    """Do it in a process of its own, as an engine does; return what it printed."""
    if (pid := os.fork()) == 0:
        with contextlib.suppress(BaseException), open(log, "ab", buffering=0) as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            sys.stdout = sys.stderr = open(1, "a", buffering=1, closefd=False)  # noqa: SIM115
            tell(cores=1, pictures=False)
            work()
        os._exit(0)
    os.waitpid(pid, 0)
    return log.read_text()


@pytest.mark.slow
def test_what_is_trained_as_one_has_the_bits_of_lone_runs(tmp_path: Path) -> None:
    from gradloop.training.population.as_one import run_exactly, run_population

    seed, stacked = int(time.time()), 0
    for number in range(seed, seed + 12):
        members = drawn(random.Random(number))
        one = [planned(lines, tmp_path / f"{number}/one/{k}") for k, lines in enumerate(members)]
        alone = [planned(lines, tmp_path / f"{number}/alone/{k}") for k, lines in enumerate(members)]
        if " runs as one" not in apart(lambda one=one: run_exactly(*one), tmp_path / f"{number}.log"):  # type: ignore[misc]
            continue
        stacked += 1
        for together, lone in zip(one, alone, strict=True):
            apart(lambda lone=lone: run_population(lone), tmp_path / f"{number}_alone.log")  # type: ignore[misc]
            told = f"draw {number}: {lone.overrides}"
            records = [read_record(each.place) for each in (lone, together)]
            assert_same(*({key: record.get(key) for key in TOLD} for record in records), told)
            for name in ("best", "last"):
                assert_same(content(lone.place, name), content(together.place, name), told)
    assert stacked > 0
