"""The curves of a run as a table and as a picture."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl

from gradloop.callbacks.hook import Hook
from gradloop.drawing.charts import save_curves
from gradloop.process import told
from gradloop.runs.history import write_history


class Curves(Hook):
    """Writes `metrics.csv` (one row an epoch) and `curves.png` (loss and metric, training and validation)."""

    any_module = True

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule, folder: Path) -> None:
        if not self.run.history:
            return
        write_history(folder, self.run.history)
        if told().get("pictures", True):  # not in a sweep: it draws its own, and gradloop-compare a run's
            best = self.run.best[0].epoch + 1 if self.run.best else None
            save_curves(folder / "curves.png", self.run.history, folder.name, best)
