"""A run's event files as TensorBoard reads them."""

import io
import itertools
import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradloop.runs.labels import tag

Row = tuple[float, int, Mapping[str, float]]  # a row of measurements: when (seconds), at which step, what


def scalars(row: Mapping[str, float]) -> Any:
    """Return a row of measurements as TensorBoard's summary: all but where it was measured."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(
        value=[Summary.Value(tag=tag(k), simple_value=v) for k, v in row.items() if k not in ("epoch", "step")]
    )


class EventFile:
    """An event file that is written in a few goes and closed in between: no thread, no open file.

    folder: where it lies; it is made when there is something to write. path: the file, if it is there already.
    suffix: how a new one's name ends. seconds: after which what waits is written when more comes.
    """

    def __init__(
        self, folder: Path, path: Path | None = None, *, suffix: str = "", seconds: float = math.inf
    ) -> None:
        self.folder, self.path, self.suffix, self.seconds = folder, path, suffix, seconds
        self.waiting: list[bytes | Row] = []
        self.saved = time.monotonic()

    def get_logdir(self) -> str:
        return str(self.folder)

    def add_event(self, event: Any) -> None:
        self._add(event.SerializeToString())

    def add(self, summary: Any, step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.add_event(Event(wall_time=time.time(), step=step, summary=summary))

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
            paths = (self.folder / f"{name}.{n}{self.suffix}" for n in itertools.count())
            self.path = next(path for path in paths if not path.exists())
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
