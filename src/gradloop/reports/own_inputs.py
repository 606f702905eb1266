"""The user's own files: predicted and explained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gradloop.drawing.figures import draw_page, number, percent, shorten
from gradloop.errors import ConfigError, DataError
from gradloop.reports.attributions import columns_of, integrated_gradients
from gradloop.reports.input_pages import Caption, explained_pictures, rows_page
from gradloop.reports.predictions import Predictions
from gradloop.reports.reading import feature_names, find_files, read_pictures, read_table
from gradloop.runs.foreign_text import csv_text
from gradloop.training.saved_run import SavedRun
from gradloop.training.supervised import Supervised

AT_ONCE = 256  # samples that go through the network together
MOST_PAGES = 8  # of maps


def explain_own_inputs(
    saved: SavedRun, module: Supervised, knobs: dict[str, Any]
) -> Iterator[tuple[str, bytes | str]]:
    """Yield `predictions.csv`, then the maps of pictures, or the attributions of a table's rows."""
    if knobs["target"] == "actual":
        raise ConfigError("explain.target=actual: nobody knows the class of your own files; use predicted")
    shape = saved.recipe["facts"]["input_shape"]
    files = find_files(knobs["inputs"])
    if len(shape) == 3:
        inputs = read_pictures(files, saved.recipe, resize=knobs["resize"])
        names = [file.as_posix() for file in files]
    elif len(shape) == 1:
        if len(files) > 1:
            raise DataError(f"explain.inputs: one CSV at a time, not {len(files)} files")
        names, inputs = read_table(files[0], saved.recipe, feature_names(saved.recipe["facts"]))
    else:
        raise DataError(f"explain.inputs: the run takes samples of shape {tuple(shape)}, no pictures and no tables")
    inputs = inputs.to(module.device)
    with torch.no_grad():
        outputs = torch.cat([module(batch).float().cpu() for batch in inputs.split(AT_ONCE)])
    predictions = Predictions(module, outputs, None, names)
    yield "predictions.csv", predictions.as_csv()
    pages = _pictures if len(shape) == 3 else _rows
    yield from pages(shorten(saved.record.get("name") or saved.folder.name, 32), predictions, inputs, knobs)


def _pictures(
    name: str, predictions: Predictions, inputs: Tensor, knobs: dict[str, Any]
) -> Iterator[tuple[str, bytes | str]]:
    step = knobs["samples"]
    starts = range(0, len(predictions), step)[:MOST_PAGES]
    for page, start in enumerate(starts, start=1):
        rows = list(range(start, min(start + step, len(predictions))))
        captions = [
            Caption(f"{shorten(_last_part(predictions.names[k]), 15)}\n{_said(predictions, k)}") for k in rows
        ]
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
    attributions = torch.cat(
        [
            integrated_gradients(predictions.module, some, which, steps=knobs["steps"]).cpu()
            for some, which in zip(inputs.split(AT_ONCE), columns.split(AT_ONCE), strict=True)
        ]
    )
    names = feature_names(predictions.facts)
    rows = zip(predictions.names, *attributions.T.tolist(), strict=True)
    yield "inputs_attributions.csv", csv_text(("name", *names), rows)
    if len(names) == 1:
        return  # a map of one column would say nothing
    shown = every[: knobs["samples"]]
    captions = [f"{shorten(predictions.names[k])}: {_said(predictions, k).replace(chr(10), ', ')}" for k in shown]
    title = f"{name}: your rows, and which features made it say so"
    if len(shown) < len(every):
        title += f" (the first {len(shown)} of {len(every)})"
    meaning = "against  ←  score  →  for" if predictions.is_classification else "lowers  ←  value  →  raises"
    yield "inputs_attributions.png", draw_page(rows_page, title, captions, names, attributions[shown], meaning)


def _said(predictions: Predictions, row: int) -> str:
    if not predictions.is_classification:
        return f"says {number(predictions.values[row, 0])}"
    said = shorten(predictions.classes[int(predictions.predicted[row])], 12)
    return f"says {said}\n{percent(float(predictions.confidence[row]))} sure"


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]
