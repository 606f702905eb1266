"""Files of one's own, read as a run's data was: pictures or the rows of a table, with what the model says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gradloop.data.data_checks import input_type
from gradloop.errors import DataError
from gradloop.reports.predictions import Predictions
from gradloop.reports.reading import feature_names, find_files, read_pictures, read_table
from gradloop.training.saved_run import SavedRun
from gradloop.training.supervised import Supervised

AT_ONCE = 256  # samples that go through the network together


def read_inputs(saved: SavedRun, given: Any, *, key: str, resize: bool) -> tuple[list[str], Tensor, Tensor | None]:
    """Return names, inputs as the network sees them, and targets where a table has them. key: what gave the files."""
    shape = saved.recipe["facts"]["input_shape"]
    files = find_files(given, key)
    if len(shape) == 3:
        transforms = saved.built("data.eval_transforms")
        pictures = read_pictures(files, saved.recipe, resize=resize, transforms=transforms, key=key)
        return [file.as_posix() for file in files], pictures, None
    if len(shape) != 1:
        raise DataError(f"{key}: the run takes samples of shape {tuple(shape)}, no pictures and no tables")
    if len(files) > 1:
        raise DataError(f"{key}: one table at a time, not {len(files)} files")
    preprocessing = saved.recipe["preprocessing"]
    if "columns" in preprocessing:
        from gradloop.data.tables.rows import read_new

        return read_new(files[0], preprocessing, saved.recipe["facts"])
    return *read_table(files[0], saved.recipe, feature_names(saved.recipe["facts"])), None


@torch.no_grad()
def predict_new(
    saved: SavedRun, module: Supervised, given: Any, *, key: str, resize: bool
) -> tuple[Predictions, Tensor]:
    """Return what the module says of the user's files, and the inputs."""
    names, inputs, targets = read_inputs(saved, given, key=key, resize=resize)
    kind = input_type(saved.recipe["facts"])
    if not kind.is_floating_point and not torch.equal(inputs, inputs.round()):
        raise DataError(f"{key}: the run takes whole numbers")
    inputs = inputs.to(module.device, kind)
    outputs = torch.cat([module(batch).float().cpu() for batch in inputs.split(AT_ONCE)])
    return Predictions(module, outputs, targets, names), inputs


def columns_of_table(recipe: dict[str, Any]) -> tuple[list[str], list[list[int]]]:
    """Return the names of a table's columns, and each one's features: several for a column of words."""
    names = feature_names(recipe["facts"])
    if "columns" not in recipe["preprocessing"]:
        return names, [[feature] for feature in range(len(names))]
    from gradloop.data.tables.columns import from_plain

    columns = from_plain(recipe["preprocessing"]["columns"])
    every = iter(range(len(names)))
    return [column.name for column in columns], [[next(every) for _ in column.features] for column in columns]


def by_column(attributions: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """[N, features] -> [N, columns]: the sum over a column's features, as integrated gradients add up."""
    return torch.stack([attributions[:, list(features)].sum(1) for features in groups], 1)
