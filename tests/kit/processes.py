"""Commands in a process of their own, forked: torch is imported already."""

from __future__ import annotations

import importlib
import multiprocessing.forkserver
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from gradloop.runs.signals import STOPS


class Child:
    """A forked process that runs a command with its output in a file."""

    def __init__(
        self,
        arguments: list[str],
        log: Path,
        environment: dict[str, str] | None = None,
        path: Path | None = None,
        program: str = "train",
    ) -> None:
        """path: a folder with the user's own modules. program: the command is gradloop-<program>."""
        self.log = log
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            sys.path[:0] = [str(path)] if path else []
            _run(program, arguments, log, environment or {})

    def wait(self, timeout: float = 240) -> int:
        """Return the exit code; a signal's number below zero."""
        if self.ended(within=timeout):
            assert self.code is not None
            return self.code
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        raise TimeoutError(self.output())

    def ended(self, within: float = 0) -> bool:
        """Wait so many seconds for the end; return whether it has come."""
        until = time.monotonic() + within
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= until:
                return False
            else:
                time.sleep(0.0005)
        return True

    def signal(self, number: int) -> None:
        if self.code is None:
            os.kill(self.pid, number)

    def output(self) -> str:
        return self.log.read_text()


def until(condition: Callable[[], object], timeout: float = 240) -> None:
    """Wait for a condition to hold."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.005)


def _run(program: str, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    code = 1
    try:
        for number in STOPS:  # whoever runs the tests may ignore some, as `&` and nohup do
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os.environ.update(environment)
        os.environ.pop("HYDRA_FULL_ERROR", None)
        torch.set_num_threads(1)
        importlib.reload(multiprocessing.forkserver)  # the parent's, if it has run a sweep, serves the parent alone
        sys.argv = [f"gradloop-{program}", *arguments]
        importlib.import_module(f"gradloop.commands.{program}").main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)  # as Python does
    except KeyboardInterrupt:  # before the command listens
        code = 130
    except BaseException:  # nothing that a command may let through
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
