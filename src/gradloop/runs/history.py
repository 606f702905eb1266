"""The curves of a run as a table: `metrics.csv`, a row an epoch (from 1), empty where nothing was measured."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from gradloop.runs.foreign_text import csv_text

History = list[dict[str, float]]  # a row an epoch: "epoch" (from 1), "step", "train/loss", …

GROWN = 1000  # a loss that ends at so many times its first value has not learnt


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


def worse_than_the_mean(metrics: dict[str, float]) -> str | None:
    """Say in one line that a regression has learned nothing: R² below 0, in the test or else the validation."""
    name = next((name for name in ("test/r2", "val/r2") if name in metrics), None)
    if name is None or not metrics[name] < 0:
        return None
    return (
        f"{name} {metrics[name]:.3g}: to say the targets' mean each time would be better; try a larger optimizer.lr, "
        "more epochs, or targets divided by their standard deviation"
    )


def growth(history: list[dict[str, float]]) -> str | None:
    """Say in one line that the training loss ended at a thousandfold of its first epoch, or more; None if it did not.

    history: a row an epoch, each with "epoch", "train/loss" and "lr".
    """
    rows = [row for row in history if "train/loss" in row]
    if not rows:
        return None
    first, last = rows[0], rows[-1]
    if not 0 < first["train/loss"] * GROWN <= last["train/loss"]:
        return None
    began, ended = first["train/loss"], last["train/loss"]
    grown = f"{ended / began:,.0f}" if ended / began < 1e6 else f"{ended / began:.1e}"
    return (
        f"train/loss grew {grown}-fold, from {began:.4g} in epoch {first['epoch']:.0f} "
        f"to {ended:.4g} in epoch {last['epoch']:.0f}; "
        f"try a smaller optimizer.lr than {max(row['lr'] for row in rows):g}"
    )
