"""A job of a sweep, in a process of its own: whatever becomes of it, its runs' records say how they went."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from gradloop.config.overrides import quoted
from gradloop.process import collector_at_rest, tell
from gradloop.runs.folder import LOCK, lock_of
from gradloop.runs.record import FAILED, NOT_RUN, RUNNING, Record, machine, write_record
from gradloop.runs.signals import STOPS, Listening, stop_at_once, take_note
from gradloop.sweeps.engines import ONE_RUN, JobSpec, RunSpec
from gradloop.sweeps.sweep_folder import read_job_record

if TYPE_CHECKING:
    from gradloop.runs.planning import Config

OUTLIVED = 60.0  # seconds
OUTPUT = "output.log"  # in the run's folder: what the run printed


def run_job(spec: JobSpec) -> None:
    """Do a job, and write each run's record however it ends: by an exception, `sys.exit`, no memory left or a signal.

    Only a `kill -9` or a crash of the interpreter leaves a record that says "running": whoever started the process
    sees that it is gone. What the job prints goes to the folder of its (first) run.
    """
    with contextlib.suppress(OSError):  # another machine may lack it
        os.chdir(spec.folder)
    if int(os.environ.get("SLURM_PROCID", 0)) > 0:  # another process of the same run, which keeps the record
        _program(spec)(*(_config(spec, run) for run in spec.runs))
        return
    for run in spec.runs:
        run.folder.mkdir(parents=True, exist_ok=True)
    output = open(spec.runs[0].folder / OUTPUT, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - till the end
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    sys.stdout = sys.stderr = output
    tell(cores=spec.cores, pictures=False)
    locks = [_hold(run.folder) for run in spec.runs]
    if (parent := multiprocessing.parent_process()) is not None and not parent.is_alive():
        return  # the sweep was killed before this began; its next start may have done the run meanwhile
    now: Record = {**machine(), "status": RUNNING, "reason": None}
    begun: list[Record] = [{**blank_record(run), **read_job_record(run.folder), **now} for run in spec.runs]
    for run, record in zip(spec.runs, begun, strict=True):
        write_record(run.folder, record)
    error: BaseException | None = None
    listening = Listening(stop_at_once)  # until the training listens itself
    try:
        listening.__enter__()
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # what came since the process was asked for comes now
        configs = [_config(spec, run) for run in spec.runs]
        _be_the_command(spec, configs[0])
        _program(spec)(*configs)
        listening.first = take_note
    except BaseException as caught:
        error = caught
    for run, record in zip(spec.runs, begun, strict=True):
        _complete_record(run.folder, record, error)
    output.flush()
    del locks  # held until here


def _hold(folder: Path) -> FileLock:
    """Take a run's lock, if need be from an earlier process: one whose machine a cluster has lost saves and ends."""
    lock = lock_of(folder)
    if not (folder / LOCK).is_symlink():
        with contextlib.suppress(Timeout, OSError):  # the run itself says so
            lock.acquire(timeout=OUTLIVED)
    return lock


def _be_the_command(spec: JobSpec, config: Config) -> None:
    """Look like the (first) run's own command: Lightning starts the further processes of a run by that."""
    place = f"hydra.run.dir={quoted(str(spec.runs[0].folder))}"
    lines = [*spec.runs[0].overrides, place] if config.checkpoint is None else [f"resume={spec.runs[0].folder}"]
    if config.checkpoint is not None and spec.allow:
        lines.append(f"allow=[{','.join(spec.allow)}]")
    where = [f"--config-dir={spec.config_dir}"] if spec.config_dir is not None else []
    main = ModuleType("__main__")
    main.__spec__ = importlib.util.find_spec("gradloop.train")
    sys.modules["__main__"] = main
    sys.argv = ["gradloop-train", *where, f"--config-name={spec.config_name}", *lines]


def _program(spec: JobSpec) -> Callable[..., Any]:
    module, _, name = (spec.program or ONE_RUN).rpartition(".")
    with collector_at_rest():
        found = getattr(importlib.import_module(module), name)
    return found if spec.program is not None else lambda config: found(config, config.place)


def blank_record(run: RunSpec) -> Record:
    """Return what is known of a run that has not begun."""
    now = datetime.now().isoformat(timespec="seconds")
    return {
        "status": NOT_RUN,
        "overrides": run.overrides,
        "metrics": {},
        "durations": {},
        "started": now,
        **run.known,
    }


def _config(spec: JobSpec, run: RunSpec) -> Config:
    """Return what the run's overrides ask for, in its folder; from its newest checkpoint on, if it has one."""
    from gradloop.config.check import check_recorded
    from gradloop.errors import CheckpointError
    from gradloop.runs.checkpoint_files import newest_intact
    from gradloop.runs.planning import plan

    os.environ.pop("SLURM_RESTART_COUNT", None)  # that a run goes on is decided here
    place = f"hydra.run.dir={quoted(str(run.folder))}"
    planned = run.config or plan([*run.overrides, place], spec.config_dir, spec.config_name)
    values, checkpoint = planned.values, None
    try:
        _, checkpoint, _ = newest_intact(run.folder / "checkpoints")
    except CheckpointError:
        pass  # it has not begun, or was stopped before its first checkpoint: nothing is lost by starting over
    else:
        before = checkpoint["gradloop"]["recipe"]["config"]
        check_recorded(run.folder / "checkpoints", before, spec.allow)
        values["seed"], values["data"]["seed"] = before["seed"], before["data"]["seed"]
    # its overrides may come from the folder of a stranger's sweep: they allow nothing
    return replace(
        planned,
        place=run.folder,
        new=False,
        overrides=run.overrides,
        checkpoint=checkpoint,
        allow=spec.allow,
        prunes=spec.prunes,
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
    ended: Record = {"status": status, "reason": reason, "exit_code": exit_code}
    write_record(folder, {**begun, **record, **ended, "finished": datetime.now().isoformat(timespec="seconds")})
