"""Standard output and error that can't end a run, and what moves on them: bars for whatever takes its time."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any


class _Patient(io.FileIO):
    """A file that drops what nobody reads any more, and says only once that it can't be written."""

    failed = False

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # EIO: the terminal was closed
            if error.errno not in (errno.EPIPE, errno.EIO) and not self.failed:
                self.failed = True
                raise
            return memoryview(data).nbytes


def steady_streams() -> None:
    """Let whatever is printed to a closed pipe, stream (`>&-`) or terminal, be dropped: the work goes on.

    `gradloop-train … | head -1` trains to its end, records it, and exits with 0. Other errors of writing (a full
    disk under `> log`) stay errors. What a terminal can't show is shown as "?".
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # or the next file that is opened would be taken for the stream
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process lives
            continue
        binary = getattr(stream, "buffer", None)
        raw = getattr(binary, "raw", binary)  # PYTHONUNBUFFERED leaves the buffer out
        if isinstance(raw, io.FileIO) and not isinstance(raw, _Patient):
            stream.flush()
            patient = _Patient(stream.fileno(), "w", closefd=False)
            replaced = io.TextIOWrapper(
                patient if binary is raw else io.BufferedWriter(patient),
                encoding=stream.encoding,
                errors="replace" if number == 1 else "backslashreplace",
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, replaced)


PATIENCE = 2.0  # seconds without a word; what takes longer has a bar


def paragraphs(lines: Sequence[str]) -> None:
    """Print text: on a terminal broken between words at its width, Korean's wide letters counted as such."""
    if not lines or not sys.stdout.isatty():
        print(*lines, sep="\n", end="\n" * bool(lines))
        return
    from rich.console import Console

    Console(file=sys.stdout).print("\n".join(lines), markup=False, highlight=False)


def fitted(line: str) -> str:
    """Return a line of ` · ` parts; on a terminal that is narrower, broken between them."""
    lines = [""]
    for part in line.split(" · "):
        longer = f"{lines[-1]} · {part}" if lines[-1] else part
        if sys.stdout.isatty() and len(longer) > shutil.get_terminal_size().columns and lines[-1]:
            lines.append(part)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def wrapped(line: str, stream: Any) -> str:
    """Return a line; for a terminal that is narrower, broken between words and indented from there on."""
    if not stream.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def bar_on(stream: Any, *, counted: bool = True, left: bool = True) -> Any:
    """Return a bar of rich's for a terminal, with `said` beside each task; None where none can be drawn.

    counted: show how many of how many. left: and the time that is left, as the steps so far tell it.
    """
    if not stream.isatty():
        return None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=stream)
    if console.is_dumb_terminal:
        return None
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(20)]
    columns += [MofNCompleteColumn()] if counted else []
    columns += [TimeRemainingColumn(compact=True)] if counted and left else []
    columns.append(TextColumn("{task.fields[said]}"))
    # what is piped elsewhere meanwhile must not go to the terminal
    return Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())


class Waiting:
    """Says on a terminal what is waited for, if it takes longer than two seconds: `with Waiting("exporting"): …`

    total: of `step`s, for a bar; None: nobody knows. Elsewhere than on a terminal it is one line every ten seconds.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what, self.total, self.done = what, total, 0
        self.bar: Any = None
        self.task: Any = None
        self.began = self.next_line = time.monotonic()

    def __enter__(self) -> Waiting:
        self.next_line = self.began + PATIENCE
        if self.total is None and (bar := bar_on(sys.stderr, counted=False)) is not None:
            self.bar = bar  # no step will come to draw it
            self.bar.start()
            self.bar.add_task(self.what, total=None, said="")
        return self

    def step(self, count: int = 1) -> None:
        """Tell that so many more are done."""
        self.done += count
        if self.bar is not None and self.total is not None:
            self.bar.update(self.task, completed=self.done)
        elif self.bar is None and time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + 5 * PATIENCE
            self.bar = bar_on(sys.stderr) if self.total is not None else None
            if self.bar is not None:
                self.bar.start()
                self.task = self.bar.add_task(self.what, total=self.total, completed=self.done, said="")
            else:
                print(f"{self.what}: {self.done}/{self.total or '?'}", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
