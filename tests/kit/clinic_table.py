"""A table of patients: numbers, words, gaps, groups and days."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from gradloop.config.compose import compose_config
from gradloop.data.data_module import DataModule
from gradloop.training.build import Builder

ROWS = 240
COLUMNS = ["age", "city", "income", "sick", "day", "clinic", "cost"]


def rows() -> list[list[object]]:
    """Cost follows age and city; some ages and cities are missing; income is large numbers close together."""
    rng = np.random.default_rng(0)
    table = []
    for row in range(ROWS):
        age, city = round(rng.normal(40, 10), 3), ["Rom", "Oslo", "Wien"][int(rng.integers(3))]
        cost = age + 30 * (city == "Rom") + rng.normal(0, 2)
        age, city = ("" if row % 17 == 3 else age), ("NA" if row % 23 == 4 else city)
        day = f"2024-{1 + row // 28:02d}-{1 + row % 28:02d}"
        income, clinic = 1_700_000_000 + row % 50, f"c{row % 12}"
        table.append([age, city, income, "yes" if cost > 50 else "no", day, clinic, round(cost, 4)])
    return table


def write(path: Path, columns: list[str], table: list[list[object]]) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns, *table])
    return path


@pytest.fixture(scope="module", name="file")
def clinic(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("table") / "clinic.csv", COLUMNS, rows())


def make(file: Path, **changes) -> DataModule:
    config, _ = compose_config(["data=csv", f"data.file={file}", "data.target=sick", "seed=0"])
    values = OmegaConf.to_container(config.data, resolve=True) | {"drop": ["day", "cost"]} | changes
    return Builder()("data", values)


def loaded(file: Path, **changes) -> DataModule:
    data = make(file, **changes)
    data.setup()
    return data
