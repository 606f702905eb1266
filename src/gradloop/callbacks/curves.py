"""The curves of a run as a table and as a picture."""

from pathlib import Path

import lightning.pytorch as pl

from gradloop.callbacks.hook import Hook
from gradloop.drawing.charts import curves_png, quantities
from gradloop.process import told
from gradloop.runs.folder import write_atomically
from gradloop.runs.history import history_csv


class Curves(Hook):
    """Writes `metrics.csv` (one row an epoch) and `curves.png` (loss and metric, training and validation)."""

    any_module = True

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule, folder: Path) -> None:
        if not self.run.history:
            return
        write_atomically(folder / "metrics.csv", history_csv(self.run.history))
        # not in a sweep: it draws its own, and gradloop-compare a run's
        if told().get("pictures", True) and quantities(name for row in self.run.history for name in row):
            best = self.run.best[0].epoch + 1 if self.run.best else None
            write_atomically(folder / "curves.png", curves_png(self.run.history, folder.name, best))
