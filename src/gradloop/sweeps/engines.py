"""Where the runs of a sweep take place. An engine starts a run, says which have ended, and stops one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection, resource_tracker
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from gradloop.errors import ConfigError
from gradloop.runs.signals import STOPS
from gradloop.sweeps.job import Task, run_task

GRACE = 120.0  # seconds that running jobs get to save their state when they are stopped
ENGINES = ("processes", "slurm")
# earlier names, and Hydra's
NOW_CALLED = {
    "basic": "hydra/launcher=processes",
    "joblib": "hydra/launcher=processes hydra.launcher.n_jobs=2",
    "submitit_local": "hydra/launcher=slurm hydra.launcher.cluster=local",
    "submitit_slurm": "hydra/launcher=slurm",
}
Answer = TypeVar("Answer")


class Engine(Protocol):
    width: int  # runs at once
    cores: int  # that each may use

    def prepare(self, folder: Path) -> None:
        """Get ready for the runs of the sweep in `folder`."""

    def start(self, number: int, task: Task) -> None:
        """Start a run. number: what `wait` and `stop` call it."""

    def wait(self, seconds: float) -> list[int]:
        """Return the runs that have ended, as soon as there are any; none after so many seconds."""

    def stop(self, number: int, signal_number: int) -> None:
        """Tell a run to save its state and end, as if it had got that signal."""

    def kill(self, number: int) -> None:
        """End a run at once."""


def cores_here() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_engine_name(name: Any) -> None:
    """Raise ConfigError for a launcher that is no engine of gradloop's."""
    if name not in ENGINES:
        now = NOW_CALLED.get(str(name), " or ".join(f"hydra/launcher={engine}" for engine in ENGINES))
        raise ConfigError(f"hydra/launcher={name}: gradloop starts a sweep's runs itself; take {now}")


def make_engine(config: Any) -> Engine:
    """Return the engine that a sweep's config names; raise ConfigError for what it can't do."""
    check_engine_name(config.hydra.runtime.choices.get("hydra/launcher"))
    if config.hydra.runtime.choices["hydra/launcher"] == "slurm":
        from gradloop.sweeps.slurm import Slurm

        return Slurm(config)
    n_jobs, cores = config.hydra.launcher.get("n_jobs"), cores_here()
    if not isinstance(n_jobs, int) or isinstance(n_jobs, bool) or n_jobs == 0:
        raise ConfigError(f"hydra.launcher.n_jobs={n_jobs}: expected 1 or more, or -1 for as many as there are cores")
    return Processes(n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs), cores)


class Processes:
    """Runs on this machine, each in a process forked from one that has imported torch and gradloop once.

    width: runs at once. cores: of the machine, which the runs share.
    """

    def __init__(self, width: int, cores: int) -> None:
        self.width, self.cores = width, max(1, cores // width)
        self.processes: dict[int, Any] = {}

    def prepare(self, folder: Path | None = None) -> None:
        """Start the process that the runs are forked from: it imports while the sweep is being planned.

        It leaves signals to the sweep, and so does a run's process until it can answer them: they are held back.
        """
        if not hasattr(os, "fork"):
            return
        from multiprocessing import forkserver

        _context().set_forkserver_preload(["gradloop.sweeps.preload"])
        resource_tracker.ensure_running()  # or it would be started below, and let signals through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def start(self, number: int, task: Task) -> None:
        process = _context().Process(target=_life, args=(task,), name=f"run {number}")
        with _no_main_module():
            process.start()
        self.processes[number] = process

    def wait(self, seconds: float) -> list[int]:
        connection.wait([process.sentinel for process in self.processes.values()], seconds)
        ended = [number for number, process in self.processes.items() if process.exitcode is not None]
        for number in ended:
            self.processes.pop(number).close()
        return ended

    def stop(self, number: int, signal_number: int) -> None:
        if (process := self.processes.get(number)) is not None:
            with contextlib.suppress(OSError):  # it has just ended
                os.kill(process.pid, signal_number)

    def kill(self, number: int) -> None:
        if (process := self.processes.get(number)) is not None:
            process.kill()


def elsewhere(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Call a function that needs torch in another process: the sweep's own stays small."""
    receiving, sending = _context().Pipe(duplex=False)
    process = _context().Process(target=_answer, args=(sending, function, arguments))
    with _no_main_module():
        process.start()
    sending.close()
    answer = receiving.recv()
    process.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(sending: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    answer: Any
    try:
        answer = function(*arguments)
    except Exception as error:
        answer = error
    with contextlib.suppress(BrokenPipeError):  # the sweep was killed meanwhile
        sending.send(answer)


def _context() -> Any:
    return multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")


def _life(task: Task) -> None:
    """The life of a run's process: in a process group of its own, a signal reaches it through its sweep alone."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    run_task(task)


def _end_with_the_sweep() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # a pipe that the system closes, however the sweep ends
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Hide the main module from multiprocessing, which would import it in each process.

    A script of the user's own, without a guard around its last line, would start the sweep again there.
    """
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
