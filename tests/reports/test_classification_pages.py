"""Calibration in cases where it is known, and pages that can be drawn for any number of classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradloop.drawing.figures import draw_page, new_figure
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


@pytest.mark.parametrize(("bins", "error"), [(10, 0.075), (1, 0.075)])
def test_a_probability_of_one_is_in_the_last_bin(bins: int, error: float) -> None:
    probabilities = torch.tensor([[1.0, 0.0]] * 5 + [[0.95, 0.05]] * 5)
    labels = torch.tensor([1] + [0] * 9)
    assert reliability(probabilities, labels, bins=bins).error == pytest.approx(error, abs=1e-6)


def test_classes_that_do_not_occur_are_not_the_worst() -> None:
    from matplotlib.figure import Figure

    predictions = random_predictions("multiclass", 60, classes=25)
    outputs = predictions.outputs.clone()
    outputs[:, 4:] -= 100  # nobody is in one of these, or said to be
    few = replace(predictions, outputs=outputs, targets=predictions.targets % 4)
    figure = Figure()
    per_class_page(figure, "title", few)
    names = [label.get_text().split()[0] for label in figure.axes[0].get_yticklabels()]
    assert set(names[-4:]) == set(few.classes[:4])


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


def test_what_was_most_wrong_is_named_beside_its_bar_and_inside_the_page() -> None:
    predictions = random_predictions("multiclass", 30)
    figure = new_figure(9, 5)
    most_wrong_page(figure, "title", predictions, predictions.losses.argsort()[-6:].tolist())
    figure.draw_without_rendering()
    axes, legend = figure.axes[0].get_window_extent(), figure.legends[0].get_window_extent()
    for label in figure.axes[0].texts:
        assert axes.x0 < label.get_window_extent().x0 < label.get_window_extent().x1 < axes.x1
        assert not label.get_window_extent().overlaps(legend)
