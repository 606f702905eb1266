"""Commands on a terminal of a given width, in a forked process: torch is imported already."""

from __future__ import annotations

import fcntl
import importlib
import multiprocessing.forkserver
import os
import pty
import re
import struct
import sys
import termios
import traceback
from pathlib import Path

import torch

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(columns: int, *arguments: str, program: str = "train", cwd: Path) -> tuple[int, str]:
    """Return the exit code, and all that was written to the terminal: bars too, each state of theirs in a line."""
    pid, terminal = pty.fork()
    if pid == 0:
        _run(columns, arguments, program, cwd)
    written = b""
    while True:
        try:
            more = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        written += more
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), ESCAPES.sub("", written.decode()).replace("\r", "\n")


def _run(columns: int, arguments: tuple[str, ...], program: str, cwd: Path) -> None:
    code = 1
    try:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        os.chdir(cwd)
        os.environ["TERM"] = "xterm-256color"
        for name in ("HYDRA_FULL_ERROR", "COLUMNS"):
            os.environ.pop(name, None)
        for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
            setattr(sys, name, os.fdopen(number, mode, buffering=1, closefd=False))
        torch.set_num_threads(1)
        importlib.reload(multiprocessing.forkserver)  # the parent's, if it has run a sweep, serves the parent alone
        sys.argv = [f"gradloop-{program}", *arguments]
        code = importlib.import_module(f"gradloop.commands.{program}").main() or 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
