"""Calibration in cases where it is known, and pages that can be drawn for any number of classes."""

from __future__ import annotations

import pytest
import torch

from gradloop.drawing.figures import draw_page
from gradloop.reports.classification_pages import (
    confusion_page,
    most_wrong_page,
    per_class_page,
    reliability,
    reliability_page,
)
from small_modules import random_predictions


def test_the_calibration_error_of_a_known_case() -> None:
    # ten answers, each 80 % sure: six are right, so confidence and accuracy are 0.2 apart
    probabilities = torch.tensor([[0.8, 0.2]]).repeat(10, 1)
    labels = torch.tensor([0] * 6 + [1] * 4)
    measured = reliability(probabilities, labels, bins=10)
    assert measured.error == pytest.approx(0.2, abs=1e-6)
    assert int(measured.counts.sum()) == 10
    assert float(measured.accuracy.max()) == pytest.approx(0.6)


def test_a_sure_and_right_classifier_is_calibrated() -> None:
    probabilities = torch.eye(3).repeat(4, 1)
    assert reliability(probabilities, torch.arange(3).repeat(4), bins=15).error == 0


@pytest.mark.parametrize("bins", [1, 7, 10, 15])
def test_the_bars_add_up_to_the_calibration_error(bins: int) -> None:
    predictions = random_predictions("multiclass", 500)
    measured = reliability(predictions.probabilities, predictions.labels, bins=bins)
    gaps = (measured.confidence - measured.accuracy).abs()
    assert float(gaps @ measured.counts.float()) / 500 == pytest.approx(measured.error, abs=1e-5)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("classes", [3, 25])
def test_pages_are_pictures(task: str, classes: int) -> None:
    predictions = random_predictions(task, 60, classes=classes)
    measured = reliability(predictions.probabilities, predictions.labels, bins=10)
    pages = [
        draw_page(reliability_page, "a title with $ and _", measured),
        draw_page(per_class_page, "title", predictions),
        draw_page(most_wrong_page, "title", predictions, predictions.losses.argsort()[-5:].tolist()),
        confusion_page("title", predictions),
    ]
    assert all(page.startswith(b"\x89PNG") for page in pages)
