"""Signals that end a sweep: running jobs save their state, the rest is not begun."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from gradloop.runs.record import RUNNING
from gradloop.sweeps.guarded_job import STOP_FILE, Stopped
from gradloop.sweeps.sweep_folder import Job, Sweep

GRACE = 120.0  # seconds that running jobs get to save their state when the sweep is stopped


@contextlib.contextmanager
def stopping_on_signals(sweep: Sweep, kind: str) -> Iterator[None]:
    """Turn SIGTERM, SIGHUP, SIGUSR1 and Ctrl-C into `Stopped`. kind: the launcher's, as `launcher_of` names it."""
    before = {}

    def stop(number: int, _frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once
        if kind != "basic":
            (sweep.folder / STOP_FILE).touch()
            _stop_workers(sweep, kind, number)
        raise Stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:  # as `nohup` wants it
            continue
        with contextlib.suppress(ValueError):  # not the main thread: nobody can be asked
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def runs_elsewhere(sweep: Sweep, job: Job) -> bool:
    """Whether the job's record says that another process is running it."""
    if job.ended:
        return False
    sweep.refresh_job(job)
    return job.status == RUNNING and job.record.get("pid") != os.getpid()


def _stop_workers(sweep: Sweep, kind: str, number: int) -> None:
    running = [job for job in sweep.jobs if runs_elsewhere(sweep, job)]
    # Ctrl-C reaches every process of the terminal's foreground group; a second one would cut them short
    if not (number == signal.SIGINT and _in_foreground()) and kind != "submitit_slurm":
        for job in running:
            with contextlib.suppress(OSError):
                os.kill(job.record["pid"], signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while any(runs_elsewhere(sweep, job) for job in running) and time.monotonic() < deadline:
        time.sleep(0.1)


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
