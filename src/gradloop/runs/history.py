"""The curves of a run as a table: `metrics.csv`, a row an epoch (from 1), empty where nothing was measured."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from gradloop.runs.foreign_text import csv_text

History = list[dict[str, float]]  # a row an epoch: "epoch" (from 1), "step", "train/loss", …


def history_csv(history: History) -> str:
    """Return the table's text, with columns in the order of their first appearance."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    return csv_text(columns, ([row.get(name) for name in columns] for row in history))


def read_history(folder: Path) -> History:
    """Return the rows up to the first that is none: the table may be a stranger's, or cut short. No file, no rows."""
    path, history = folder / "metrics.csv", []
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                history.append({name: float(text) for name, text in row.items() if text})
                history[-1]["epoch"]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        history = [row for row in history if "epoch" in row]
    return counted_from_one(history)


def counted_from_one(history: Iterable[dict[str, float]], last: float = math.inf) -> History:
    """Return a history's rows with epochs from 1, up to the last; those of version 0.1 begin with epoch 0."""
    rows = [dict(row) for row in history]
    for row in rows if rows and rows[0]["epoch"] == 0 else ():
        row["epoch"] += 1
    return [row for row in rows if row["epoch"] <= last]
