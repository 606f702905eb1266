"""Files of one's own, read as a run's data was: pictures or the rows of a table, with what the model says of them."""

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradloop.data.data_checks import input_type
from gradloop.data.pictures.image_scan import SUFFIXES
from gradloop.errors import DataError, did_you_mean
from gradloop.reports.predictions import Predictions
from gradloop.training.saved_run import SavedRun
from gradloop.training.supervised import Supervised

AT_ONCE = 256  # samples that go through the network together


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
    return *read_table(files[0], saved.recipe), None


def find_files(given: Any, key: str = "explain.inputs") -> list[Path]:
    """Return the files that `key` names: itself, the pictures of a folder, or those of a list."""
    files: list[Path] = []
    for path in map(Path, map(str, given if isinstance(given, list) else [given])):
        if path.is_dir():
            found = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            inside = sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(path).parts))
            if not inside:
                raise DataError(f"{key}={path}: no picture in this folder ({', '.join(SUFFIXES)})")
            files += inside
        elif path.is_file():
            files.append(path)
        elif path.exists():
            raise DataError(f"{key}={path}: neither a file nor a folder")
        else:
            raise DataError(f"{key}={path}: no such file or folder")
    if not files:
        raise DataError(f"{key}=[]: name at least one file")
    return files


def read_pictures(
    files: list[Path],
    recipe: dict[str, Any],
    *,
    resize: bool,
    transforms: Sequence[Callable[[Tensor], Tensor]] = (),
    key: str = "explain.inputs",
) -> Tensor:
    """Return float32 [B, C, H, W], normalised as in training; raise DataError for what can't be used.

    transforms: of the user's own that the run's evaluation goes through. key: what gave the files.
    Pictures are scaled if training scaled its own (`data.image_size`), else only if `resize` says so.
    """
    from gradloop.data.augmentation.own_transforms import OwnTransforms
    from gradloop.data.pictures.image_decoding import Decoding

    first, *size = recipe["facts"]["input_shape"]  # after the transforms, which may make other channels
    channels = recipe["preprocessing"].get("channels", first)
    height, width = recipe["preprocessing"].get("image_size") or size
    own = OwnTransforms(transforms, None, seed=0)
    data = recipe["config"]["data"]
    scales = resize or data.get("image_size") is not None
    decoding = Decoding(
        height=height if scales else None,
        width=width if scales else None,
        channels=channels,
        fit=data.get("fit", "crop"),
    )
    pictures = []
    for file in files:
        if file.suffix.lower() == ".csv":
            raise DataError(f"{file}: a table, and this run was trained on pictures of {width} x {height}")
        try:
            values = decoding.decode(file)
        except Exception as error:  # Pillow's plugins raise nearly anything on a broken file
            first = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{file}: can't be read as a picture: {first}") from error
        if values.shape[:2] != (height, width):
            raise DataError(
                f"{file}: {values.shape[1]} x {values.shape[0]} pixels, and the run was trained on "
                f"{width} x {height}; scale it with {key.replace('inputs', 'resize')}=true"
            )
        pictures.append(own.apply(torch.from_numpy(values.copy()).permute(2, 0, 1)))
    return normalised(torch.stack(pictures).float() / 255, recipe["preprocessing"])


def read_table(file: Path, recipe: dict[str, Any]) -> tuple[list[str], Tensor]:
    """Return the rows' names and float32 [N, F], scaled as in training; raise DataError for what can't be used.

    The columns are found by their names, in any order; a column `name` names the rows, others are ignored.
    """
    names = feature_names(recipe["facts"])
    if file.suffix.lower() in SUFFIXES:
        raise DataError(f"{file}: a picture, and this run was trained on tables of {len(names)} columns")
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            lines = [(reader.line_num, line) for line in reader if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: can't be read as a CSV: {' '.join(str(error).split())}") from error
    if not lines:
        raise DataError(f"{file}: an empty file; expected a line with the columns' names: {_listed(names)}")
    header, rows = [column.strip() for column in lines[0][1]], lines[1:]
    missing = [name for name in names if name not in header]
    if missing:
        near = did_you_mean(missing[0], [column for column in header if column not in names])
        raise DataError(f"{file}: no column '{missing[0]}'{near}; expected {_listed(names)}")
    if twice := next((name for name in names if header.count(name) > 1), None):
        raise DataError(f"{file}: two columns are called '{twice}'")
    if not rows:
        raise DataError(f"{file}: no row below the columns' names")
    places = [header.index(name) for name in names]
    table = torch.empty(len(rows), len(names))
    for values, (number, row) in zip(table, rows, strict=True):
        if len(row) != len(header):
            raise DataError(f"{file}: line {number} has {len(row)} cells, the first line has {len(header)}")
        values[:] = torch.tensor(
            [_number(file, number, name, row[place]) for name, place in zip(names, places, strict=True)]
        )
    row_names = [row[header.index("name")] for _, row in rows] if "name" in header and "name" not in names else None
    return row_names or [str(k + 1) for k in range(len(rows))], normalised(table, recipe["preprocessing"])


def feature_names(facts: dict[str, Any]) -> list[str]:
    """Return the names of a table's columns; x0, x1, … if the data has none."""
    return list(facts["input_names"] or (f"x{k}" for k in range(facts["input_shape"][0])))


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


def normalised(inputs: Tensor, preprocessing: dict[str, Any]) -> Tensor:
    """x' = (x - mean) / std, one mean and std a channel or column; x where training took values as they are."""
    if not preprocessing.get("mean"):
        return inputs
    shape = (-1, 1, 1) if inputs.ndim == 4 else (-1,)
    mean, std = (torch.tensor(preprocessing[key], dtype=torch.float32).view(shape) for key in ("mean", "std"))
    return (inputs - mean) / std


def _number(file: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{file}: line {line}, column '{column}': expected a finite number, not {text!r}")
    return value


def _listed(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 12 else [*names[:4], "…", *names[-2:]])
