"""gradloop-evaluate gives the run's own numbers again, with intervals, predictions and exports."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.commands.evaluate import run
from gradloop.errors import ConfigError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    gradloop.train(["data=digits", "trainer.max_epochs=2", f"hydra.run.dir={path}", "seed=0", "accelerator=cpu"])
    return path


def test_metrics_equal_those_of_training_and_lie_in_their_intervals(folder: Path) -> None:
    metrics = run([f"run={folder}", "bootstrap=200"], None, "evaluate")
    trained = json.loads((folder / "summary.json").read_text())["metrics"]
    assert metrics == {name: value for name, value in trained.items() if name.startswith("test/")}
    stored = json.loads((folder / "evaluation.json").read_text())
    assert stored["metrics"] == metrics
    assert stored["bootstrap"] == {"resamples": 200, "confidence": 0.95, "seed": 0}
    for name, value in metrics.items():
        low, high = stored["intervals"][name]
        assert low <= value <= high


def test_predictions_are_written_for_every_test_sample(folder: Path) -> None:
    metrics = run([f"run={folder}", "predictions=true", "bootstrap=0"], None, "evaluate")
    with open(folder / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["target"] == row["predicted"] for row in rows)
    assert right / len(rows) == pytest.approx(metrics["test/accuracy"])
    assert len({row["name"] for row in rows}) == len(rows) == 360
    assert "intervals" not in json.loads((folder / "evaluation.json").read_text())


def test_an_export_is_written_with_its_facts(folder: Path) -> None:
    run([f"run={folder}", "export=torch_export", "bootstrap=0"], None, "evaluate")
    facts = json.loads((folder / "export" / "model.pt2.json").read_text())
    assert facts["class_names"] == [str(k) for k in range(10)]
    stored = json.loads((folder / "evaluation.json").read_text())["export"]
    assert stored["max_abs_difference"] == facts["max_abs_difference"] < 1e-5
    inputs = torch.rand(3, 1, 8, 8)
    exported = torch.export.load(folder / "export" / "model.pt2").module()
    with torch.no_grad():
        assert torch.allclose(exported(inputs), gradloop.load(folder)(inputs), atol=1e-5)


def test_wrong_knobs_are_refused(folder: Path) -> None:
    for override, message in (
        ("export=onx", "did you mean 'onnx'"),
        ("bootstrap=-1", "bootstrap=-1: expected 100 to 1000000, or 0 for none"),
        ("bootstrap=1", "bootstrap=1: expected 100 to 1000000, or 0 for none"),
        ("confidence=1.5", "below 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            run([f"run={folder}", override], None, "evaluate")


@pytest.mark.parametrize(("reason", "code"), [(errno.EACCES, 0), (errno.EROFS, 0), (errno.ENOSPC, 4)])
def test_a_run_that_one_may_only_read_is_measured(reason, code, folder, command, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(os, "replace", refuse)  # root may write everywhere
    ended = command(f"run={folder}", program="evaluate")
    assert (ended.code, "test/accuracy" in ended.out) == (code, True)
    line = f"{folder}/evaluation.json: can't write: {os.strerror(reason)}; what was there is untouched"
    assert ended.err.splitlines()[-1].startswith(f"{'error' if code else 'warning'}: {line}")
