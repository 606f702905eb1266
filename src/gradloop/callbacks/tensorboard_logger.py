"""TensorBoard, one event a row."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gradloop.runs.event_file import EventFile
from gradloop.runs.labels import event_folder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger, with all values of a row in one event instead of one event each.

    It writes to `<save_dir>/tensorboard`, in a sweep to `<save_dir>/lr=0.01 dims=[64]`: TensorBoard names the run's
    entry so. It never adds the empty `hp_metric` that would take over the HParams page. On its pages the losses come
    first, and what belongs into one chart stands side by side: see `tag`.
    """

    def __init__(self, *, save_dir: str) -> None:
        super().__init__(save_dir, name=event_folder(Path(save_dir)).name, version="", default_hp_metric=False)
        self.writer: SummaryWriter | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The writer, opened anew after the logger was closed: into a further event file."""
        if self.writer is None:
            self.writer = open_writer(Path(self.log_dir))
        return self.writer

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        flat: dict[str, float] = {}
        for name, value in metrics.items():  # several in one chart, as Lightning's logger takes them
            flat |= {f"{name}/{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {name: value}
        self.experiment.file_writer.event_writer.log_metrics(flat, step or 0)

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: the resolved config is a text page, and a sweep writes what the HParams page shows."""

    @rank_zero_only
    def save(self) -> None:
        if self.writer is not None:
            self.writer.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what waits. Lightning says this after training and after testing: both belong into one file."""
        self.save()

    @rank_zero_only
    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def open_writer(folder: Path) -> SummaryWriter:
    """Return torch's writer over an `EventFile`.

    Its own writes each event by a thread, for which a small model's training waits longer than for the event.
    """
    from torch.utils.tensorboard import SummaryWriter

    own = f"events.out.tfevents.*.{os.getpid()}.*"  # a sweep may write into the same folder at this moment
    before = set(folder.glob(own))
    writer = SummaryWriter(str(folder))  # its file has a header now
    assert writer.file_writer is not None
    writer.file_writer.event_writer.close()
    (path,) = set(folder.glob(own)) - before
    writer.file_writer.event_writer = EventFile(folder, path, seconds=1.0)
    return writer
