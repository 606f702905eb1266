"""Intervals: weights of one are the metric itself; more samples, less spread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score, roc_auc_score
from torch import nn

from gradloop.reports.intervals import intervals, measures_of, weighted_auroc, wilson
from gradloop.reports.predictions import Predictions
from gradloop.training.task import Regression
from small_modules import random_predictions, small_module

TASKS = ["multiclass", "binary", "regression"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("samples", [7, 300])
def test_weights_of_one_give_what_torchmetrics_gives(task: str, samples: int) -> None:
    predictions = random_predictions(task, samples)
    expected = predictions.module.task.measure(predictions.outputs, predictions.targets, None)
    expected["loss"] = float(predictions.module.loss(predictions.outputs, predictions.targets))
    found = {name: float(measure(torch.ones(1, samples))) for name, measure in measures_of(predictions).items()}
    assert found == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("task", TASKS)
def test_whole_weights_mean_repeated_samples(task: str) -> None:
    predictions = random_predictions(task, 60)
    rows = torch.randint(60, (60,), generator=torch.Generator().manual_seed(3))
    weights = torch.bincount(rows, minlength=60).float()[None]
    expected = predictions.module.task.measure(predictions.outputs[rows], predictions.targets[rows], None)
    found = {name: float(measure(weights)) for name, measure in measures_of(predictions).items()}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=2e-5)


def test_the_area_under_the_curve_counts_ties_half_and_weights_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    ranks = torch.randint(6, (80,), generator=generator)
    positive = torch.randint(2, (80,), generator=generator).float()
    weights = torch.randint(4, (3, 80), generator=generator).float()
    found = weighted_auroc(weights, ranks, positive)
    for row, area in zip(weights, found, strict=True):
        assert float(area) == pytest.approx(roc_auc_score(positive, ranks, sample_weight=row), abs=1e-6)
    assert weighted_auroc(weights, ranks, torch.ones(80)).isnan().all()


@pytest.mark.parametrize("task", TASKS)
def test_intervals_hold_the_metric_and_shrink_with_the_samples(task: str) -> None:
    widths = []
    for samples in (100, 1600):
        predictions = random_predictions(task, samples)
        found = intervals(predictions, resamples=300, confidence=0.95, seed=0)
        for name, measure in measures_of(predictions).items():
            low, high = found[name]
            assert low < float(measure(torch.ones(1, samples))) < high
        widths.append({name: high - low for name, (low, high) in found.items()})
    for name in widths[0]:
        assert 0.12 < widths[1][name] / widths[0][name] < 0.5  # about one over the root of 16


def test_the_interval_of_a_mean_is_the_textbook_one() -> None:
    predictions = random_predictions("multiclass", 1000)
    share = float(predictions.right.float().mean())
    low, high = intervals(predictions, resamples=2000, confidence=0.95, seed=1)["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * (share * (1 - share) / 1000) ** 0.5, rel=0.1)


def test_equal_seeds_give_equal_intervals_and_less_confidence_narrower_ones() -> None:
    predictions = random_predictions("binary", 200)
    first, second, other, narrow = (
        intervals(predictions, resamples=200, confidence=confidence, seed=seed)["accuracy"]
        for seed, confidence in ((0, 0.95), (0, 0.95), (1, 0.95), (0, 0.5))
    )
    assert first == second != other
    assert narrow[1] - narrow[0] < first[1] - first[0]


def test_nothing_but_right_answers_are_no_certainty() -> None:
    predictions = random_predictions("multiclass", 6)
    right = 9 * torch.nn.functional.one_hot(predictions.targets, predictions.outputs.shape[1]).float()
    found = intervals(replace(predictions, outputs=right), resamples=100, confidence=0.95, seed=0)
    assert found["accuracy"] == pytest.approx((0.6097, 1.0), abs=1e-3)  # Wilson's
    assert "f1" not in found


def test_resamples_that_are_alike_leave_the_score_interval_of_the_measured_share() -> None:
    predictions = random_predictions("multiclass", 50)
    share = predictions.right.float().mean(0, keepdim=True).numpy()
    low, high = (float(end[0]) for end in wilson(share, np.array([50])))
    found = intervals(predictions, resamples=1, confidence=0.95, seed=0)
    assert found == {"accuracy": pytest.approx((low, high))}


def test_a_loss_that_is_no_mean_over_samples_has_no_interval() -> None:
    predictions = random_predictions("multiclass", 50)
    predictions.module.loss = torch.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 20.0]))
    assert "loss" not in intervals(predictions, resamples=10, confidence=0.9, seed=0)


def test_f1_of_labels_counts_one_that_is_neither_true_nor_said_as_torchmetrics_does() -> None:
    module = small_module(nn.Identity(), "multilabel", (3,), 3)
    scores = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    targets = (scores > 0.3).float()
    predictions = Predictions(module, scores, targets, [str(row) for row in range(50)])
    predictions.targets[:, 0], predictions.outputs[:, 0] = 0, -5
    expected = predictions.module.task.measure(predictions.outputs, predictions.targets, None)
    found = {name: float(measure(torch.ones(1, 50))) for name, measure in measures_of(predictions).items()}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=2e-5)


def test_r2_of_small_numbers_and_of_a_large_offset() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(40, 1, generator=generator)
    for scale, offset in ((1.0, 0.0), (1e-4, 0.0), (10.0, 1e5)):
        targets = offset + scale * noise
        values = targets + 0.3 * scale * torch.randn(40, 1, generator=generator)
        measured = Regression(1).measure(values, targets, ["r2"])["r2"]
        assert measured == pytest.approx(r2_score(targets, values), abs=1e-3)
    assert Regression(1).measure(noise, torch.ones(40, 1), ["r2"])["r2"] == 0


def test_resamples_of_one_value_say_nothing_of_r2() -> None:
    predictions = random_predictions("regression", 3)
    low, _ = intervals(predictions, resamples=500, confidence=0.95, seed=0)["r2"]
    assert low > -1e6
