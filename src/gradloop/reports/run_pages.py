"""The pages of a run's test part, one after the other."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradloop.data.batches import evaluated
from gradloop.data.data_module import DataModule
from gradloop.drawing.figures import draw_page, number, percent
from gradloop.drawing.labels import shorten, shorten_all
from gradloop.reports.attributions import columns_of, integrated_gradients, permutation_importance
from gradloop.reports.classification_pages import (
    confusion_page,
    most_confused,
    most_wrong_page,
    per_class_page,
    reliability,
    reliability_page,
    tendency,
)
from gradloop.reports.input_pages import Caption, bars_page, explained_pictures
from gradloop.reports.intervals import intervals
from gradloop.reports.predictions import Predictions, predict, spaced
from gradloop.reports.reading import by_column, columns_of_table, feature_names
from gradloop.reports.regression_pages import fit_page, path_page, predicted_page, residuals_page
from gradloop.runs.foreign_text import csv_text
from gradloop.runs.history import read_history
from gradloop.runs.record import finite
from gradloop.training.saved_run import SavedRun
from gradloop.training.supervised import Supervised
from gradloop.training.task import single_line

Pages = Iterator[tuple[str, bytes | str]]  # file name and content
MOST_SAMPLES = 2000  # of a table, for attributions and importance
MOST_CLASSES = 100  # that a confusion matrix can show
MOST_PAIRS = 10  # of confused classes
RESAMPLES = 1000  # of the test part, for intervals


def explain_test_part(saved: SavedRun, module: Supervised, knobs: dict[str, Any]) -> Pages:
    """Yield every page that fits the run's task and data."""
    data = saved.data()
    data.setup("test")
    saved.tell_changes(data)
    predictions = predict(module, data)
    name = shorten(saved.record.get("name") or saved.folder.name, 32)
    shape = predictions.facts["input_shape"]
    numbers: dict[str, Any] = {"samples": len(predictions), "step": saved.content.get("global_step")}
    found = intervals(predictions, resamples=RESAMPLES, confidence=0.95, seed=knobs["seed"])
    numbers["intervals"] = {f"test/{metric}": ends for metric, ends in found.items()}
    if predictions.is_classification:
        yield from _classifier(name, predictions, knobs, numbers)
    else:
        assert predictions.targets is not None
        fit = module.task.measure(predictions.outputs, predictions.targets, ["rmse", "r2"])
        measured = [f"{label} {number(fit[name])}" for name, label in (("rmse", "RMSE"), ("r2", "R²")) if name in fit]
        numbers["findings"] = [f"{', '.join(measured)}, on {len(predictions)} test samples"]
        yield from _regression(name, saved.folder, predictions, data)
    if len(shape) == 3:
        yield from _pictures(name, predictions, data, knobs)
    elif len(shape) == 1 and shape[0] > 1:
        yield from _features(name, predictions, data, knobs)
    yield "explain.json", json.dumps(finite(numbers), indent=2, ensure_ascii=False) + "\n"


def _classifier(name: str, predictions: Predictions, knobs: dict[str, Any], numbers: dict[str, Any]) -> Pages:
    classes = predictions.classes
    worst = predictions.losses.argsort(descending=True).tolist()
    if len(classes) <= MOST_CLASSES:
        yield "confusion.png", confusion_page(f"{name}, test part", predictions)
    measured = reliability(predictions.probabilities, predictions.labels, bins=knobs["bins"])
    numbers |= {"accuracy": float(predictions.right.float().mean()), "ece": measured.error, "bins": knobs["bins"]}
    ends = " to ".join(percent(end) for end in numbers["intervals"]["test/accuracy"])
    numbers["most_confused"] = confused = most_confused(predictions, MOST_PAIRS)
    numbers["findings"] = [
        f"accuracy {percent(numbers['accuracy'])} of {len(predictions)} test samples (95 % interval {ends})",
        f"expected calibration error {tendency(measured)}",
        f"most often confused: {confused[0][0]} taken for {confused[0][1]}, {confused[0][2]}" if confused
        else "nothing confused",
    ]  # fmt: skip
    title = f"{name}: does its confidence mean what it says? ({len(predictions)} test samples)"
    yield "reliability.png", draw_page(reliability_page, title, measured)
    title = f"{name}: precision and recall of each class, test part"
    yield "per_class.png", draw_page(per_class_page, title, predictions)
    if len(predictions.facts["input_shape"]) != 3:
        title = f"{name}: most wrong on the test part"
        yield "most_wrong.png", draw_page(most_wrong_page, title, predictions, worst[: knobs["samples"]])
    rows = [
        (predictions.names[k], classes[int(predictions.labels[k])], classes[int(predictions.predicted[k])],
         float(predictions.confidence[k]), float(predictions.losses[k]))
        for k in worst[:100]
    ]  # fmt: skip
    yield "most_wrong.csv", csv_text(("name", "target", "predicted", "confidence", "loss"), rows)


def _pictures(name: str, predictions: Predictions, data: DataModule, knobs: dict[str, Any]) -> Pages:
    module, count = predictions.module, knobs["samples"]
    chosen = spread(predictions.labels, count) if predictions.is_classification else list(range(count))
    pages = {"maps": (f"{name}: which pixels made it say so (test pictures)", chosen[: len(predictions)])}
    if predictions.is_classification:
        worst = predictions.losses.argsort(descending=True)[:count].tolist()
        pages["most_wrong"] = (f"{name}: most wrong on the test part, and what misled it", worst)
    for file, (title, rows) in pages.items():
        captions = [_caption(predictions, row, with_loss=file == "most_wrong") for row in rows]
        columns = columns_of(predictions, rows, knobs)
        inputs = data.seen("test", torch.tensor(rows)).float().to(module.device)
        yield f"{file}.png", explained_pictures(module, inputs, columns, captions, title, knobs)


def _caption(predictions: Predictions, row: int, *, with_loss: bool) -> Caption:
    if not predictions.is_classification:
        assert predictions.targets is not None
        return Caption(f"true {number(predictions.targets[row, 0])}\nsaid {number(predictions.values[row, 0])}")
    classes = shorten_all(predictions.classes, 9)  # "true: " stands before, over a picture of an inch
    true, said = (classes[int(k[row])] for k in (predictions.labels, predictions.predicted))
    text = f"true: {true}\nsaid: {said}\n{percent(float(predictions.confidence[row]))} sure"
    if with_loss:
        text += f"\nloss {number(predictions.losses[row])}"
    return Caption(text, bool(predictions.right[row]))


def _features(name: str, predictions: Predictions, data: DataModule, knobs: dict[str, Any]) -> Pages:
    module = predictions.module
    rows = spaced(len(predictions), MOST_SAMPLES)
    count = f"{len(rows)} samples" + f" of {len(predictions)}" * (len(rows) < len(predictions))
    inputs = data.seen("test", torch.tensor(rows)).float().to(module.device)
    assert predictions.targets is not None
    targets = predictions.targets[rows].to(module.device)
    columns = columns_of(predictions, rows, knobs)
    names, groups = columns_of_table(module.recipe)
    found = integrated_gradients(module, inputs, columns, steps=knobs["steps"])
    attributions = by_column(found.cpu(), groups)
    strength = attributions.abs().mean(0)
    classification = predictions.is_classification
    of = f"the {knobs['target']} class's score" if classification else "the predicted value"
    of += _which_output(predictions)
    yield "feature_attributions.png", draw_page(
        bars_page, f"{name}: how much each feature moves the score", f"mean |integrated gradients| on {of}",
        names, strength, None, f"test part, {count}; against a blank input (every feature 0)",
    )  # fmt: skip

    @torch.no_grad()
    def score(table: Tensor) -> float:
        outputs = module(table).float()
        if classification:
            return module.task.measure(outputs, targets, ["accuracy"])["accuracy"] * 100
        return -module.task.measure(outputs, targets, ["rmse"])["rmse"]

    mean, spread_ = permutation_importance(score, inputs, repeats=knobs["repeats"], seed=knobs["seed"], groups=groups)
    unit = "fall of the test accuracy (percentage points)" if classification else "rise of the test RMSE (unit of y)"
    yield "permutation_importance.png", draw_page(
        bars_page, f"{name}: what each feature is worth", f"{unit} when the feature is shuffled",
        names, mean, spread_, f"mean ± std of {knobs['repeats']} shuffles, {count}; "
        f"unshuffled: {f'{score(inputs):.1f} % right' if classification else f'RMSE {number(-score(inputs))}'}",
    )  # fmt: skip
    header = ("feature", "mean_abs_attribution", "mean_attribution", "importance_mean", "importance_std")
    values = (strength, attributions.mean(0), mean, spread_)
    yield "features.csv", csv_text(header, zip(names, *(v.tolist() for v in values), strict=True))


def _regression(name: str, folder: Path, predictions: Predictions, data: DataModule) -> Pages:
    assert predictions.targets is not None
    values, targets = predictions.values[:, 0], predictions.targets[:, 0]
    which = _which_output(predictions)
    title = f"{name}: what the fit leaves over{which} (test part, n={len(values)})"
    yield "residuals.png", draw_page(residuals_page, title, values, targets)
    if predictions.facts["input_shape"] != [1] or predictions.facts["num_outputs"] != 1:
        title = f"{name}: predicted against true values{which} (test part)"
        yield "predicted.png", draw_page(predicted_page, title, values, targets)
        return
    module, train, test = predictions.module, data.splits["train"], data.splits["test"]
    parts = {"training": (train.inputs[:, 0], train.targets[:, 0]), "test": (test.inputs[:, 0], test.targets[:, 0])}
    every_x = torch.cat([x for x, _ in parts.values()])
    x = torch.linspace(float(every_x.min()), float(every_x.max()), 200)[:, None]
    with torch.no_grad():
        seen = evaluated(x, data.eval_transform())
        line = (x[:, 0], module(seen.to(module.device))[:, 0].cpu())
    single = single_line(module.network)
    formula = "fit"
    if single:
        weight, bias = (parameter.item() for parameter in single)
        formula = f"fit: ŷ = {number(weight)} x {'-' if bias < 0 else '+'} {number(abs(bias))}"
    config, preprocessing = (predictions.module.recipe[name] for name in ("config", "preprocessing"))
    scaled = "columns" in preprocessing and config["data"].get("scaler") != "none"
    feature = feature_names(predictions.facts)[0] + " (scaled)" * scaled
    yield "fit.png", draw_page(fit_page, f"{name}: the fit and its data", parts, line, formula, feature)
    # none if it was no single line
    if history := [row for row in read_history(folder) if "weight" in row and "bias" in row]:
        title = f"{name}: the path of (w, b) over the loss surface"
        seen = data.seen("train", torch.arange(len(train)))
        yield "loss_surface.png", draw_page(path_page, title, module.loss, (seen, train.targets), history)


def _which_output(predictions: Predictions) -> str:
    """What a title adds where the pictures of a regression show the first of several outputs."""
    outputs = 1 if predictions.is_classification else predictions.values[0].numel()
    return "" if outputs == 1 else f", output 0 of {outputs}"


def spread(labels: Tensor, count: int) -> list[int]:
    """Return up to `count` rows, class after class in turn, in the order of the samples inside a class."""
    turn = torch.zeros(len(labels), dtype=torch.long)
    for label in labels.unique():
        mine = labels == label
        turn[mine] = torch.arange(int(mine.sum()))
    order = (turn * (int(labels.max()) + 1) + labels).argsort(stable=True)
    return order[:count].tolist()
