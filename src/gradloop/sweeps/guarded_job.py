"""A sweep's job that can't take the sweep with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from gradloop.runs.liveness import process_exists
from gradloop.runs.record import FAILED, INTERRUPTED, NOT_RUN, RUNNING, Record, machine, write_record
from gradloop.sweeps.sweep_folder import read_job_record

STOP_FILE = ".stop"  # in the sweep's folder: no further job begins
OUTPUT = "output.log"  # in the run's folder: what the job printed


class Stopped(BaseException):
    """A signal told the sweep to end. No Exception, so that no job can swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class GuardedJob:
    """Hydra's task function with a net under it: whatever the job does, a record says how it went.

    An exception, `sys.exit` and running out of memory end the job alone. What the job prints goes to its
    folder, for several may run at once. Only Ctrl-C gets through. A `kill -9` or a crash of the interpreter
    takes the process along: with the in-process launcher that is the sweep itself (`sweep.resume=last` goes
    on), with the others it is one run.
    """

    def __init__(self, task: Callable[[Any], Any]) -> None:
        self.task = task

    def __call__(self, config: Any) -> Record:
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        if int(os.environ.get("SLURM_PROCID", 0)) > 0:  # another process of the same run, which keeps the record
            return self.task(config)
        if (folder.parent / STOP_FILE).exists():
            return {"status": NOT_RUN}
        if _left_alone():
            os._exit(1)
        before = read_job_record(folder)  # of an earlier attempt at the same job
        error: BaseException | None = None
        overrides = list(hydra.overrides.task)
        # from here on, whoever finds this job unfinished knows which process to look for
        begun = {**blank_record(config, overrides), **before, **machine(), "status": RUNNING, "reason": None}
        write_record(folder, begun)
        with (
            open(folder / OUTPUT, "a", encoding="utf-8", buffering=1) as output,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            try:
                self.task(config)
            except BaseException as caught:
                error = caught
        record = complete_record(folder, begun, error)
        if _left_alone():
            os._exit(0)  # nobody takes the answer: it would wait for ever
        if error is not None and isinstance(error, KeyboardInterrupt | Stopped):
            raise error  # the sweep itself was told to end
        return record


def _left_alone() -> bool:
    """Whether this is a worker of a pool whose sweep is gone (kill -9)."""
    parent = multiprocessing.parent_process()
    return parent is not None and parent.pid is not None and not process_exists(parent.pid)


def blank_record(config: Any, overrides: list[str]) -> Record:
    """What is known of a job before it has begun."""
    now = datetime.now().isoformat(timespec="seconds")
    known = {"name": config.get("name"), "seed": config.get("seed"), "overrides": overrides}
    return {**known, "metrics": {}, "durations": {}, "started": now}


def complete_record(folder: Path, begun: Record, error: BaseException | None) -> Record:
    """Return the job's record; write one if it ended before it had its own, or without closing it."""
    from gradloop.runs.run import outcome

    record = read_job_record(folder)
    if record and record.get("status") != RUNNING:
        return record
    status, reason, exit_code = outcome(error)
    if isinstance(error, SystemExit):
        status, reason, exit_code = (
            FAILED,
            f"sys.exit({error.code!r})",
            error.code if isinstance(error.code, int) and error.code else 1,
        )
    elif isinstance(error, Stopped):
        status, reason, exit_code = INTERRUPTED, str(error), 128 + error.number
    ended = {"status": status, "reason": reason, "exit_code": exit_code}
    record = {**begun, **record, **ended, "finished": datetime.now().isoformat(timespec="seconds")}
    write_record(folder, record)
    return record
