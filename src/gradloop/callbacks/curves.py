"""The curves of a run as a table and as a picture."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl

from gradloop.callbacks.hook import Hook
from gradloop.drawing.charts import save_curves
from gradloop.runs.folder import write_atomically
from gradloop.runs.foreign_text import csv_text


class Curves(Hook):
    """Writes `metrics.csv` (one row an epoch) and `curves.png` (loss and metric, training and validation)."""

    any_module = True

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule, folder: Path) -> None:
        if not self.run.history:
            return
        write_atomically(folder / "metrics.csv", as_csv(self.run.history))
        save_curves(folder / "curves.png", self.run.history, folder.name)


def as_csv(history: list[dict[str, float]]) -> str:
    """Return the history as CSV text, one row an epoch, columns in the order of their first appearance."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    return csv_text(columns, ([row.get(name) for name in columns] for row in history))
