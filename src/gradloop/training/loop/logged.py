"""What callbacks of the user's own have logged in an epoch, for a run that goes on within it."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from gradloop.callbacks.hook import Hook, gathered, share_of
from gradloop.training.lightning_internals import Sums, add_sums, means_of, sums_so_far, sums_with


class Logged(Hook):
    """Keeps the sums of `self.log(…, on_epoch=True)`: a checkpoint of Lightning's has none, and means would be wrong.

    It stands behind those callbacks, and before what saves. The module's own measurements are in its `Meter`.
    """

    def __init__(self) -> None:
        self.sums: Sums = {}  # of the checkpoint that this run goes on from, until a batch has logged more
        self.means: dict[str, float] = {}  # likewise, of an epoch that was over, and not logged yet
        self.cut: Sums = {}  # of an epoch that `max_steps` has cut short: it may go on later

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.means:
            self.run.log({**self.means, "step": self.loop.step - 1})  # as Lightning counts
            self.means = {}

    def draw(self, trainer: pl.Trainer, module: Any, folder: Path) -> None:
        self.on_train_epoch_start(trainer, module)  # there was no further epoch

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        add_sums(trainer, self.sums)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.sums = {}
        self.cut = {} if self.loop.at_epochs_end else sums_so_far(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        inside = 0 < self.loop.batch < self.loop.length
        checkpoint.setdefault("gradloop", {})["logged"] = gathered(
            {
                "sums": self.cut or sums_with(trainer, self.sums) if inside else {},
                "means": {} if inside else self.means | means_of(trainer).logged,
            }
        )

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if logged := checkpoint["gradloop"].get("logged"):  # earlier versions did not keep it
            mine = share_of(logged)
            self.sums, self.means = mine["sums"], mine["means"]
