"""Predictions agree with the module's own metrics, and their table can be read back."""

from __future__ import annotations

import csv
import io

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import gradloop
from gradloop.reports.predictions import Predictions
from small_modules import random_predictions


def read(predictions: Predictions) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(predictions.as_csv())))


@pytest.mark.parametrize("task", ["multiclass", "binary"])
def test_a_classifier_s_table(task: str) -> None:
    predictions = random_predictions(task, 40)
    rows = read(predictions)
    assert [row["name"] for row in rows] == predictions.names
    for row in rows:
        probabilities = {k[2:]: float(v) for k, v in row.items() if k.startswith("p_")}
        assert sum(probabilities.values()) == pytest.approx(1)
        assert probabilities[row["predicted"]] == max(probabilities.values())
    right = sum(row["target"] == row["predicted"] for row in rows) / len(rows)
    metrics = predictions.module.task.measure(predictions.outputs, predictions.targets, ["accuracy"])
    assert right == pytest.approx(metrics["accuracy"])


def test_a_regression_s_table() -> None:
    predictions = random_predictions("regression", 10)
    rows = read(predictions)
    assert list(rows[0]) == ["name", "target_0", "target_1", "predicted_0", "predicted_1"]
    assert [float(row["predicted_1"]) for row in rows] == predictions.outputs[:, 1].tolist()


def test_without_targets_there_is_no_such_column() -> None:
    known = random_predictions("multiclass", 3)
    assert list(read(Predictions(known.module, known.outputs, None, known.names))[0])[:2] == ["name", "predicted"]


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_the_mean_of_the_samples_losses_is_the_loss(task: str) -> None:
    predictions = random_predictions(task, 30)
    whole = predictions.module.loss(predictions.outputs, predictions.targets)
    assert predictions.losses.shape == (30,)
    assert torch.isclose(predictions.losses.mean(), whole)


def test_pages_are_of_as_much_as_the_run_was_tested_on(command, tmp_path):
    pytest.importorskip("captum")
    given = ["data=digits", "trainer.max_epochs=1", "logger=none", f"output_dir={tmp_path / 'out'}"]
    run = gradloop.train([*given, "trainer.limit_test_batches=0.5", "data.batch_size=50"])
    ended = command(f"run={run['folder']}", program="explain")
    assert ended.code == 0, ended.err
    assert f"accuracy {100 * run['metrics']['test/accuracy']:.3g} % of 200 test samples" in ended.out


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's own
def test_lightning_predicts_with_a_run_that_is_loaded(tmp_path):
    run = gradloop.train("data=digits", "trainer.max_epochs=1", "logger=none", f"output_dir={tmp_path}")
    module, inputs = gradloop.load(run["folder"]), torch.rand(6, 1, 8, 8)
    batches = DataLoader(TensorDataset(inputs, torch.zeros(6)), batch_size=4)
    (first, last) = pl.Trainer(logger=False, enable_progress_bar=False).predict(module, batches)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat([first, last]), module.network(inputs).softmax(1))
