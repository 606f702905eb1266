"""The user's own files: predicted and explained."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gradloop.drawing.figures import draw_page, number, percent
from gradloop.drawing.labels import shorten, shorten_all
from gradloop.errors import ConfigError
from gradloop.reports.attributions import columns_of, integrated_gradients
from gradloop.reports.input_pages import Caption, explained_pictures, rows_page
from gradloop.reports.predictions import Predictions
from gradloop.reports.reading import AT_ONCE, by_column, columns_of_table, predict_new
from gradloop.runs.foreign_text import csv_text
from gradloop.training.saved_run import SavedRun
from gradloop.training.supervised import Supervised

MOST_PAGES = 8  # of maps


def explain_own_inputs(
    saved: SavedRun, module: Supervised, knobs: dict[str, Any]
) -> Iterator[tuple[str, bytes | str]]:
    """Yield `predictions.csv`, then the maps of pictures, or the attributions of a table's rows."""
    if knobs["target"] == "actual":
        raise ConfigError("explain.target=actual: nobody knows the class of your own files; use predicted")
    predictions, inputs = predict_new(saved, module, knobs["inputs"], key="explain.inputs", resize=knobs["resize"])
    yield "predictions.csv", predictions.as_csv()
    pages = _pictures if inputs.ndim == 4 else _rows
    yield from pages(shorten(saved.record.get("name") or saved.folder.name, 32), predictions, inputs, knobs)


def _pictures(
    name: str, predictions: Predictions, inputs: Tensor, knobs: dict[str, Any]
) -> Iterator[tuple[str, bytes | str]]:
    step = knobs["samples"]
    starts = range(0, len(predictions), step)[:MOST_PAGES]
    for page, start in enumerate(starts, start=1):
        rows = list(range(start, min(start + step, len(predictions))))
        names = [predictions.names[k].rpartition("/")[2] for k in rows]
        if len(set(names)) < len(rows):  # one in each of several folders
            names = [predictions.names[k] for k in rows]
        short = shorten_all(names, 15)
        captions = [Caption(f"{n}\n{said}") for n, said in zip(short, _said(predictions, rows), strict=True)]
        title = f"{name}: your pictures, and which pixels made it say so"
        columns = columns_of(predictions, rows, knobs)
        page_name = "inputs_maps.png" if len(starts) == 1 else f"inputs_maps_{page}.png"
        yield page_name, explained_pictures(predictions.module, inputs[rows], columns, captions, title, knobs)
    if len(predictions) > step * MOST_PAGES:
        print(f"  maps of the first {step * MOST_PAGES} of {len(predictions)} pictures; predictions.csv has them all")


def _rows(
    name: str, predictions: Predictions, inputs: Tensor, knobs: dict[str, Any]
) -> Iterator[tuple[str, bytes | str]]:
    every = list(range(len(predictions)))
    columns = columns_of(predictions, every, knobs)
    found = [
        integrated_gradients(predictions.module, some, which, steps=knobs["steps"]).cpu()
        for some, which in zip(inputs.split(AT_ONCE), columns.split(AT_ONCE), strict=True)
    ]
    names, groups = columns_of_table(predictions.module.recipe)
    attributions = by_column(torch.cat(found), groups)
    rows = zip(predictions.names, *attributions.T.tolist(), strict=True)
    yield "inputs_attributions.csv", csv_text(("name", *names), rows)
    if len(names) == 1:
        return  # a map of one column would say nothing
    shown = every[: knobs["samples"]]
    short = shorten_all([predictions.names[k] for k in shown])
    said = [each.replace("\n", ", ") for each in _said(predictions, shown)]
    captions = [f"{row}: {what}" for row, what in zip(short, said, strict=True)]
    title = f"{name}: your rows, and which features made it say so"
    if len(shown) < len(every):
        title += f" (the first {len(shown)} of {len(every)})"
    meaning = "against  ←  score  →  for" if predictions.is_classification else "lowers  ←  value  →  raises"
    yield "inputs_attributions.png", draw_page(rows_page, title, captions, names, attributions[shown], meaning)


def _said(predictions: Predictions, rows: list[int]) -> list[str]:
    if not predictions.is_classification:
        return [f"says {number(predictions.values[row, 0])}" for row in rows]
    classes = shorten_all(predictions.classes, 12)
    return [
        f"says {classes[int(predictions.predicted[row])]}\n{percent(float(predictions.confidence[row]))} sure"
        for row in rows
    ]
