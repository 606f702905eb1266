"""Evaluate and explain refuse a knob that nothing of the run takes."""

from __future__ import annotations

from pathlib import Path

import pytest

import gradloop
from one_line import assert_one_line

RUNS = {
    "digits": ["data=digits"],
    "table": ["data.samples=200", "data.features=5"],
    "curve": ["data=linear_regression"],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {name: tmp_path_factory.mktemp("runs") / name for name in RUNS}
    for name, folder in found.items():
        gradloop.train([*RUNS[name], "trainer.max_epochs=1", "logger=none", f"hydra.run.dir={folder}"])
    return found


@pytest.mark.parametrize(
    ("name", "idle", "own"),
    [
        ("digits", ["repeats=3", "resize=true"], ["bins=5", "repeats=3", "seed=1"]),
        ("table", ["side=0.1", "resize=true"], ["side=0.1", "resize=true", "bins=5", "repeats=3", "seed=1"]),
        ("curve", ["target=actual", "samples=3", "steps=4", "side=0.1", "bins=5", "repeats=2", "resize=true"], []),
    ],
)
def test_knobs_of_explain_that_no_page_takes(
    name: str, idle: list[str], own: list[str], folders: dict[str, Path], command
) -> None:
    run = f"run={folders[name]}"
    for knob in idle:
        told = [f"explain.{knob}", "no page of the test part's"]
        assert_one_line(command(run, f"explain.{knob}", program="explain"), 2, told)
    for knob in own:
        given = run, f"explain.inputs={folders[name]}", f"explain.{knob}"
        assert_one_line(command(*given, program="explain"), 2, [f"explain.{knob}", "no page of your own"])
    group = "explain={" + idle[0].replace("=", ":") + "}"
    assert_one_line(command(run, group, program="explain"), 2, [group, "no page"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["bootstrap=0", "seed=1"], ["seed=1", "bootstrap=0 makes no intervals"]),
        (["resize=true"], ["resize=true", "pictures of your own"]),
    ],
)
def test_knobs_of_evaluate_that_nothing_takes(
    given: list[str], words: list[str], folders: dict[str, Path], command
) -> None:
    assert_one_line(command(f"run={folders['digits']}", *given, program="evaluate"), 2, words)
