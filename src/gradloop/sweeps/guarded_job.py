"""A sweep's job that can't take the sweep with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from gradloop.runs.record import RUNNING, Record, machine, write_record
from gradloop.runs.sweep_folder import read_job_record

STOP_FILE = ".stop"  # in the sweep's folder: no further job begins
OUTPUT = "output.log"  # in the run's folder: what the job printed


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
            return {"status": "not_run"}
        error: BaseException | None = None
        with open(folder / OUTPUT, "a", encoding="utf-8", buffering=1) as output:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                try:
                    self.task(config)
                except KeyboardInterrupt:
                    complete_record(folder, config, list(hydra.overrides.task), KeyboardInterrupt())
                    raise
                except BaseException as caught:
                    if type(caught).__name__ == "Stopped":  # the sweep was told to end
                        raise
                    error = caught
        return complete_record(folder, config, list(hydra.overrides.task), error)


def complete_record(folder: Path, config: Any, overrides: list[str], error: BaseException | None) -> Record:
    """Return the job's record; write one if it ended before it had its own, or without closing it."""
    from gradloop.runs.recording import outcome

    record = read_job_record(folder)
    if record and record.get("status") != RUNNING and (error is None or record.get("reason")):
        return record
    now = datetime.now().isoformat(timespec="seconds")
    status, reason, exit_code = outcome(error)
    if isinstance(error, SystemExit):
        status, reason, exit_code = "failed", f"sys.exit({error.code!r})", error.code if error.code else 1
    seed = config.get("seed") if hasattr(config, "get") else None
    record = {
        **{"name": config.get("name"), "overrides": overrides, "seed": seed, "metrics": {}, "durations": {}},
        **{"started": now, **machine()},
        **record,
        **{"status": status, "reason": reason, "exit_code": exit_code, "finished": now},
    }
    write_record(folder, record)
    return record
