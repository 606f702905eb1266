"""A sweep's jobs on this machine, each in a process forked from one that has imported torch and gradloop once."""

from __future__ import annotations

import contextlib
import json
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
from typing import Any, TypeVar

from gradloop.errors import ConfigError
from gradloop.process import cores_here
from gradloop.runs.signals import STOPS
from gradloop.sweeps.engines import GRACE, Engine, JobSpec
from gradloop.sweeps.engines.job import get_ready, run_job

Answer = TypeVar("Answer")
PARTING = 5.0  # seconds that a process gets to go, once its job is done


class Processes(Engine):
    """config: the sweep's, with `hydra.launcher` as in conf/hydra/launcher/processes.yaml."""

    def __init__(self, config: Any) -> None:
        n_jobs, cores = config.hydra.launcher.get("n_jobs"), cores_here()
        if not isinstance(n_jobs, int) or isinstance(n_jobs, bool) or n_jobs == 0:
            expected = "expected 1 or more, or -1 for as many as there are cores, -2 for one less"
            raise ConfigError(f"hydra.launcher.n_jobs={n_jobs}: {expected}")
        self.width = n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs)
        self.cores = max(1, cores // self.width)
        self.jobs: dict[int, JobProcess] = {}
        self.spare: JobProcess | None = None  # for the next job: forked while others run
        self.leaving: list[JobProcess] = []  # their jobs are done

    def prepare(self, folder: Path, example: JobSpec) -> None:
        start_server(example)

    def foresee(self, spec: JobSpec) -> None:
        if self.spare is not None and self.spare.foreseen is None:
            self.spare.get_ready(spec)

    def start(self, number: int, spec: JobSpec) -> None:
        if self.spare is not None and self.spare.foreseen not in (None, spec):  # it got ready for another
            self.spare.process.kill()
            self.leaving.append(self.spare)
            self.spare = None
        self.jobs[number] = self.spare or JobProcess()
        self.jobs[number].begin(spec, dict(os.environ))
        self.spare = JobProcess()

    def wait(self, seconds: float) -> dict[int, str | None]:
        connection.wait([place for job in self.jobs.values() for place in job.signs], seconds)
        ended = [number for number, job in self.jobs.items() if job.ended]
        self.leaving += [self.jobs.pop(number) for number in ended]
        self.leaving = [job for job in self.leaving if job.process.exitcode is None]
        return dict.fromkeys(ended)

    def stop(self, number: int, signal_number: int) -> None:
        if (job := self.jobs.get(number)) is not None:
            with contextlib.suppress(OSError):  # it has just ended
                os.kill(job.process.pid, signal_number)

    def kill(self, number: int) -> None:
        if (job := self.jobs.get(number)) is not None:
            job.process.kill()

    def close(self) -> None:
        if self.spare is not None:
            self.spare.process.kill()
            self.leaving.append(self.spare)
        for job in self.leaving:
            job.process.join(PARTING)
            job.process.kill()


def start_server(example: JobSpec) -> None:
    """Start the process that the jobs are forked from: it imports while the sweep is being planned.

    example: it imports what such a job needs.
    It leaves signals to the sweep, and so does a job's process until it can answer them: they are held back.
    """
    if not hasattr(os, "fork"):
        return
    from multiprocessing import forkserver

    _context().set_forkserver_preload(["gradloop.sweeps.engines.preload"])
    resource_tracker.ensure_running()  # or it would be started below, and let signals through again
    where = {"config_dir": example.config_dir, "config_name": example.config_name}
    os.environ["GRADLOOP_EXAMPLE"] = json.dumps({"overrides": example.runs[0].overrides, "where": where})
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["GRADLOOP_EXAMPLE"]
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class JobProcess:
    """A process of its own for a job: started, it waits to be told which.

    process: multiprocessing's. signs: what `multiprocessing.connection.wait` can wait for: that it has ended.
    foreseen: the job that it has got ready for, if for any.
    """

    foreseen: JobSpec | None = None

    def __init__(self) -> None:
        self.end, there = _context().Pipe()
        self.process = _context().Process(target=_life, args=(there,))
        with _no_main_module():
            self.process.start()
        there.close()
        self.signs = (self.end, self.process.sentinel)

    def get_ready(self, spec: JobSpec) -> None:
        """Let it build all that the job needs, and wait again."""
        self.foreseen = spec
        self._send(spec, dict(os.environ), begins=False)

    def begin(self, spec: JobSpec, environment: dict[str, str]) -> None:
        """Hand the job over. environment: what the server, started earlier, may have otherwise."""
        self._send(spec, environment, begins=True)

    def _send(self, spec: JobSpec, environment: dict[str, str], *, begins: bool) -> None:
        with contextlib.suppress(OSError):  # it was killed as it waited: it has ended without its job, which is lost
            self.end.send((spec, environment, begins))

    @property
    def ended(self) -> bool:
        """Whether the job is done or the process gone; one that is done takes a moment more to go."""
        return self.end.poll() or self.process.exitcode is not None


def elsewhere(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Call a function that needs torch in another process: the sweep's own stays small."""
    receiving, sending = _context().Pipe(duplex=False)
    process = _context().Process(target=_answer, args=(sending, dict(os.environ), function, arguments))
    with _no_main_module():
        process.start()
    sending.close()
    try:
        answer = receiving.recv()
    except EOFError:
        raise EOFError("the process that was to answer is gone; was there memory for it?") from None
    finally:
        process.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(
    sending: Any, environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ.update(environment)
    answer: Any
    try:
        answer = function(*arguments)
    except SystemExit as error:
        answer = ConfigError(f"own code ends the program: sys.exit({error.code!r})")
    except Exception as error:
        answer = error
    with contextlib.suppress(BrokenPipeError):  # the sweep was killed meanwhile
        sending.send(answer)


def _context() -> Any:
    return multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")


def _life(end: connection.Connection) -> None:
    """The life of a job's process: in a process group of its own, a signal reaches it through its sweep alone."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    ready = None
    try:
        spec, environment, begins = end.recv()
        os.environ.update(environment)
        if not begins:
            ready = get_ready(spec)
            spec, environment, _ = end.recv()
            os.environ.update(environment)
    except EOFError:  # the sweep ended without another job
        return
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    run_job(spec, ready)
    with contextlib.suppress(OSError):  # the sweep was killed
        end.send(None)


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
