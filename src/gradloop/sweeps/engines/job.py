"""A job of a sweep, in a process of its own: whatever becomes of it, its runs' records say how they went."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from gradloop.config.overrides import quoted
from gradloop.errors import GradloopError
from gradloop.process import collector_at_rest, tell
from gradloop.runs.folder import LOCK, lock_of
from gradloop.runs.record import FAILED, NOT_RUN, RUNNING, Record, machine, write_record
from gradloop.runs.signals import STOPS, Listening, stop_at_once, take_note
from gradloop.sweeps.engines import JobSpec, RunSpec
from gradloop.sweeps.sweep_folder import read_job_record

if TYPE_CHECKING:
    from gradloop.runs.planning import Config
    from gradloop.training.fit import Ready

OUTLIVED = 60.0  # seconds
OUTPUT = "output.log"  # in the run's folder: what the run printed


class Foreseen(NamedTuple):
    """The run of a job that was got ready while others ran. printed: by its parts, meanwhile."""

    config: Config
    ready: Ready
    printed: bytes


def get_ready(spec: JobSpec) -> Foreseen | None:
    """Build what the one run of a job needs, and leave nothing of it on the disk. None: it begins with nothing.

    So it does where it has begun before, where anything goes wrong (the run itself says what), and where it begins
    with the weights of a run, which may be the one that trains now.
    """
    (run,) = spec.runs
    if run.folder.exists():
        return None
    with tempfile.TemporaryFile() as printed:
        _print_to(printed)
        try:
            os.chdir(spec.folder)
            tell(cores=spec.cores, pictures=False)
            config = _config(spec, run)
            if config.values["init_from"] is not None:
                return None
            ready = _attribute("gradloop.training.fit.get_ready")(config, config.place)
        except BaseException:  # a module of the user's own may call sys.exit
            return None
        printed.seek(0)
        return Foreseen(config, ready, printed.read())


def run_job(spec: JobSpec, foreseen: Foreseen | None = None) -> None:
    """Do a job, and write each run's record however it ends: by an exception, `sys.exit`, no memory left or a signal.

    Only a `kill -9` or a crash of the interpreter leaves a record that says "running": whoever started the process
    sees that it is gone. What the job prints goes to the folder of its (first) run.
    """
    with contextlib.suppress(OSError):  # another machine may lack it
        os.chdir(spec.folder)
    if int(os.environ.get("SLURM_PROCID") or 0) > 0:  # another process of the same run, which keeps the record
        _program(spec)(*(_config(spec, run) for run in spec.runs))
        return
    for run in spec.runs:
        run.folder.mkdir(parents=True, exist_ok=True)
    with open(spec.runs[0].folder / OUTPUT, "ab", buffering=0) as output:
        _print_to(output)
        output.write(foreseen.printed if foreseen is not None else b"")
    tell(cores=spec.cores, pictures=False)
    locks = {run.folder: _hold(run.folder) for run in spec.runs}
    spec = replace(spec, runs=tuple(run for run in spec.runs if locks[run.folder] is not None))
    if not spec.runs:
        return
    if (parent := multiprocessing.parent_process()) is not None and not parent.is_alive():
        return  # the sweep was killed before this began; its next start may have done the run meanwhile
    now: Record = {**machine(), "status": RUNNING, "reason": None}
    begun: list[Record] = [{**blank_record(run), **read_job_record(run.folder), **now} for run in spec.runs]
    for run, record in zip(spec.runs, begun, strict=True):
        write_record(run.folder, record)
    error: BaseException | None = None
    refused: dict[Path, GradloopError] = {}  # a run's own mistake is not the others'
    listening = Listening(stop_at_once)  # until the training listens itself
    try:
        listening.__enter__()
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # what came since the process was asked for comes now
        configs = [foreseen.config] if foreseen is not None else []
        for run in spec.runs if foreseen is None else ():
            try:
                configs.append(_config(spec, run))
            except GradloopError as caught:
                refused[run.folder] = caught
        if configs:
            _be_the_command(spec, configs[0])
            _program(spec, foreseen.ready if foreseen is not None else None)(*configs)
        listening.first = take_note
    except BaseException as caught:
        error = caught
    for run, record in zip(spec.runs, begun, strict=True):
        _complete_record(run.folder, record, refused.get(run.folder, error))
    del locks  # held until here


def _print_to(file: Any) -> None:
    """Let all that this process prints, its libraries' C code too, go to a file."""
    for stream in (1, 2):
        os.dup2(file.fileno(), stream)
    sys.stdout = sys.stderr = open(1, "a", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115 - till the end


def _hold(folder: Path) -> FileLock | None:
    """Take a run's lock, if need be from an earlier process: one whose machine a cluster has lost saves and ends.

    None: another process goes on working on the run, and keeps its record.
    """
    lock = lock_of(folder)
    if not (folder / LOCK).is_symlink():
        with contextlib.suppress(OSError):  # the run itself says so
            try:
                lock.acquire(timeout=OUTLIVED)
            except Timeout:
                print(f"{folder}: another process works on this run; it is left to that")
                return None
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


def _program(spec: JobSpec, ready: Ready | None = None) -> Callable[..., Any]:
    program = _attribute(spec.program or "gradloop.training.fit.run")
    return program if spec.program is not None else lambda config: program(config, config.place, ready)


def _attribute(path: str) -> Any:
    module, _, name = path.rpartition(".")
    with collector_at_rest():
        return getattr(importlib.import_module(module), name)


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
    planned = run.config or plan([*run.overrides, place], spec.config_dir, spec.config_name, of_sweep=True)
    values, checkpoint = planned.values, None
    try:
        _, checkpoint, _ = newest_intact(run.folder / "checkpoints")
    except CheckpointError:
        pass  # it has not begun, or was stopped before its first checkpoint: nothing is lost by starting over
    else:
        before = checkpoint["gradloop"]["recipe"]["config"]
        check_recorded(run.folder / "checkpoints", before, spec.allow)
        values["seed"], values["data"]["seed"] = before["seed"], before["data"]["seed"]
        if population := read_job_record(run.folder).get("population"):
            planned.known["population"] = population
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
