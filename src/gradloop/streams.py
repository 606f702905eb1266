"""Standard output and error that can't end a run."""

from __future__ import annotations

import errno
import io
import os
import sys
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
