"""TensorBoard, one event a row."""

from __future__ import annotations

import io
import itertools
import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gradloop.runs.labels import event_folder, tag

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Row = tuple[float, int, Mapping[str, float]]  # a row of measurements: when (seconds), at which step, what


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
        self.experiment.file_writer.event_writer.log_metrics(metrics, step or 0)

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


def scalars(row: Mapping[str, float]) -> Any:
    """Return a row of measurements as TensorBoard's summary: all but where it was measured."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(
        value=[Summary.Value(tag=tag(k), simple_value=v) for k, v in row.items() if k not in ("epoch", "step")]
    )


class EventFile:
    """An event file that is written in a few goes and closed in between: no thread, no open file.

    folder: where it lies; it is made when there is something to write. path: the file, if it is there already.
    seconds: after which what waits is written when more comes.
    """

    def __init__(self, folder: Path, path: Path | None = None, seconds: float = math.inf) -> None:
        self.folder, self.path, self.seconds = folder, path, seconds
        self.waiting: list[bytes | Row] = []
        self.saved = time.monotonic()

    def get_logdir(self) -> str:
        return str(self.folder)

    def add_event(self, event: Any) -> None:
        self._add(event.SerializeToString())

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._add((time.time(), step, {name: float(value) for name, value in metrics.items()}))

    def _add(self, event: bytes | Row) -> None:
        self.waiting.append(event)
        if time.monotonic() > self.saved + self.seconds:
            self.save()

    def save(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.saved = time.monotonic()
        if not self.waiting:
            return
        if self.path is None:
            now = time.time()
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{now:.0f}.{socket.gethostname()}.{os.getpid()}"
            self.path = next(p for n in itertools.count() if not (p := self.folder / f"{name}.{n}").exists())
            self.waiting.insert(0, Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        content = io.BytesIO()
        writer = RecordWriter(content)
        for event in self.waiting:
            if not isinstance(event, bytes):
                at, step, row = event
                event = Event(wall_time=at, step=step, summary=scalars(row)).SerializeToString()
            writer.write(event)
        with open(self.path, "ab") as file:
            file.write(content.getvalue())
        self.waiting.clear()

    def finalize(self, status: str) -> None:
        self.save()

    flush = close = save  # as torch's SummaryWriter calls it


def rewind_event_files(folder: Path, sizes: dict[str, int]) -> None:
    """Cut the event files of a run back to what they were at a checkpoint: no step shows twice after resuming."""
    for path in folder.glob("events.out.tfevents.*"):
        if path.name.endswith(".session"):
            continue  # the sweep's own
        if path.name not in sizes:
            path.unlink()
        elif path.stat().st_size > sizes[path.name] >= 0:
            with open(path, "rb+") as file:
                file.truncate(sizes[path.name])
