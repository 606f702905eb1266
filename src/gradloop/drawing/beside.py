"""Draw at once, or in a process beside while the next run of a sweep trains."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

log = logging.getLogger("gradloop")

Drawing = tuple[Callable[..., None], tuple[Any, ...]]

_process: subprocess.Popen[bytes] | None = None
_given: list[Drawing] = []


def draw(function: Callable[..., None], *arguments: Any) -> None:
    """Call `function(*arguments)`, which writes a picture: now, or soon if a process beside draws."""
    if _process is not None:
        assert _process.stdin is not None
        with contextlib.suppress(OSError):  # it was killed: the picture is drawn here
            _process.stdin.write(pickle.dumps((function, arguments)))
            _process.stdin.flush()
            _given.append((function, arguments))
            return
    function(*arguments)


@contextlib.contextmanager
def process_beside() -> Iterator[None]:
    """Inside, pictures are drawn in another process; at the end all of them are there.

    It is a fresh interpreter, no copy of this one: torch's threads don't survive a copy.
    """
    global _process
    _process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield
    finally:
        process, _process = _process, None
        output, _ = process.communicate()  # closes its input, which ends it
        answers = output.decode().split("\0")[:-1]
        for problem in filter(None, answers):
            log.error("a picture could not be drawn: %s", problem)
        for function, arguments in _given[len(answers) :]:  # it was killed
            try:
                function(*arguments)
            except Exception:  # a picture must not end a sweep that has its results
                log.exception("%s could not draw", function.__name__)
        _given.clear()


def serve() -> None:
    """Draw what comes by standard input, until it closes: also when the sweep is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which ends this
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except (EOFError, pickle.UnpicklingError):  # the sweep closed it, or was killed while it wrote
            return
        problem = ""
        try:
            function(*arguments)
        except Exception:
            problem = traceback.format_exc()
        try:
            sys.stdout.buffer.write(f"{problem}\0".encode())
            sys.stdout.flush()
        except BrokenPipeError:  # the sweep is gone; the pictures that it gave are still drawn
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    serve()
