"""One run of a sweep, in a process of its own: whatever becomes of it, its record says how it went."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gradloop.process import tell
from gradloop.runs.record import FAILED, NOT_RUN, RUNNING, Record, machine, write_record
from gradloop.runs.signals import STOPS, Listening, stop_at_once, take_note
from gradloop.sweeps.sweep_folder import read_job_record

if TYPE_CHECKING:
    from gradloop.runs.planning import Planned

OUTPUT = "output.log"  # in the run's folder: what the run printed


@dataclass(frozen=True)
class Task:
    """A run as an engine gets it: all that another process, or another machine, has to know."""

    folder: Path
    overrides: list[str]
    config_dir: str | None
    config_name: str
    cores: int  # that the run may use
    allow: tuple[str, ...] = ()  # what the sweep's own command line allows
    extra: list[str] = field(default_factory=list)  # overrides that are no part of the run's record
    known: Record = field(default_factory=dict)  # what its record says before it has begun


def run_task(task: Task) -> None:
    """Run, and write a record however it ends: by an exception, `sys.exit`, no memory left or a signal.

    Only a `kill -9` or a crash of the interpreter leaves a record that says "running": whoever started the process
    sees that it is gone. What the run prints goes to its folder.
    """
    from gradloop.commands.train import fit_and_test

    if int(os.environ.get("SLURM_PROCID", 0)) > 0:  # another process of the same run, which keeps the record
        fit_and_test(_planned(task))
        return
    task.folder.mkdir(parents=True, exist_ok=True)
    output = open(task.folder / OUTPUT, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - as long as the process
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    sys.stdout = sys.stderr = output
    tell(cores=task.cores)
    # from here on, whoever finds this run unfinished knows which process to look for
    begun = {**blank_record(task), **read_job_record(task.folder), **machine(), "status": RUNNING, "reason": None}
    write_record(task.folder, begun)
    error: BaseException | None = None
    listening = Listening(stop_at_once)  # until the training listens itself
    try:
        listening.__enter__()
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # what came since the process was asked for comes now
        fit_and_test(_planned(task))
        listening.first = take_note
    except BaseException as caught:
        error = caught
    _complete_record(task.folder, begun, error)
    output.flush()


def blank_record(task: Task) -> Record:
    """Return what is known of a run that has not begun."""
    now = datetime.now().isoformat(timespec="seconds")
    return {
        "status": NOT_RUN,
        "overrides": task.overrides,
        "metrics": {},
        "durations": {},
        "started": now,
        **task.known,
    }


def _planned(task: Task) -> Planned:
    """Return what the run's overrides ask for, in its folder; from its newest checkpoint on, if it has one."""
    from hydra.core.override_parser.types import Quote, QuotedString

    from gradloop.config.check import check_recorded
    from gradloop.errors import CheckpointError
    from gradloop.runs.checkpoint_files import newest_intact
    from gradloop.runs.planning import plan

    os.environ.pop("SLURM_RESTART_COUNT", None)  # that a run goes on is decided here
    place = f"hydra.run.dir={QuotedString(str(task.folder), Quote.single).with_quotes()}"
    planned = plan([*task.overrides, *task.extra, place], task.config_dir, task.config_name)
    values, checkpoint = planned.values, None
    try:
        _, checkpoint, _ = newest_intact(task.folder / "checkpoints")
    except CheckpointError:
        pass  # it has not begun, or was stopped before its first checkpoint: nothing is lost by starting over
    else:
        before = checkpoint["gradloop"]["recipe"]["config"]
        check_recorded(task.folder / "checkpoints", before, task.allow)
        values["seed"], values["data"]["seed"] = before["seed"], before["data"]["seed"]
    # its overrides may come from the folder of a stranger's sweep: they allow nothing
    return replace(
        planned, folder=lambda: task.folder, overrides=task.overrides, checkpoint=checkpoint, allow=task.allow
    )


def _complete_record(folder: Path, begun: Record, error: BaseException | None) -> None:
    """Write a record if the run ended before it had its own, or without closing it."""
    from gradloop.runs.run import outcome

    record = read_job_record(folder)
    if record and record.get("status") != RUNNING:
        return
    status, reason, exit_code = outcome(error)
    if isinstance(error, SystemExit):
        status, reason = FAILED, f"sys.exit({error.code!r})"
        exit_code = error.code if isinstance(error.code, int) and error.code else 1
    ended = {"status": status, "reason": reason, "exit_code": exit_code}
    write_record(folder, {**begun, **record, **ended, "finished": datetime.now().isoformat(timespec="seconds")})
