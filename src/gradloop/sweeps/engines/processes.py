"""A sweep's jobs on this machine, each in a process forked from one that has imported torch and gradloop once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from multiprocessing import connection
from pathlib import Path
from typing import Any

from gradloop.errors import ConfigError
from gradloop.process import cores_here
from gradloop.sweeps.engines import Engine, JobSpec
from gradloop.sweeps.engines.job import get_ready, run_job
from gradloop.sweeps.engines.server import context, end_with_the_sweep, start_server, started

PARTING = 5.0  # seconds that a process gets to go, once its job is done
SERVER_GONE = 255  # multiprocessing's exit code of a process whose server was killed: it may well live
EARLIER = 100  # thousandths of all memory, that a run counts for more when the system is out of it


class Processes(Engine):
    """config: the sweep's, with `hydra.launcher` as in conf/hydra/launcher/processes.yaml."""

    def __init__(self, config: Any) -> None:
        n_jobs, cores = config.hydra.launcher.n_jobs, cores_here()
        self.width = n_jobs if n_jobs > 0 else cores + 1 + n_jobs
        if self.width < 1:
            raise ConfigError(
                f"hydra.launcher.n_jobs={n_jobs}: there are {cores} cores here; expected -{cores} or more"
            )
        self.cores = max(1, cores // self.width)
        self.example: JobSpec | None = None
        self.jobs: dict[int, JobProcess] = {}
        self.spare: JobProcess | None = None  # for the next job: forked while others run
        self.leaving: list[JobProcess] = []  # their jobs are done

    def prepare(self, folder: Path, example: JobSpec) -> None:
        self.example = example
        start_server(example)

    def foresee(self, spec: JobSpec) -> None:
        if self.spare is not None and self.spare.foreseen is None:
            self.spare.get_ready(spec)

    def start(self, number: int, spec: JobSpec) -> None:
        start_server(self.example or spec)  # a new one, where it was killed: it is the system's choice, out of memory
        # it was killed as it waited, or got ready for another
        if self.spare is not None and (self.spare.ended or self.spare.foreseen not in (None, spec)):
            self.spare.kill()
            self.leaving.append(self.spare)
            self.spare = None
        self.jobs[number] = self.spare or JobProcess()
        self.jobs[number].begin(spec, dict(os.environ))
        self.spare = JobProcess()

    def wait(self, seconds: float) -> dict[int, str | None]:
        connection.wait([place for job in self.jobs.values() for place in job.signs], seconds)
        ended = [number for number, job in self.jobs.items() if job.ended]
        for number in ended:
            self.jobs[number].clear_up()
            self.leaving.append(self.jobs.pop(number))
        self.leaving = [job for job in self.leaving if job.process.exitcode is None]
        return dict.fromkeys(ended)

    def stop(self, number: int, signal_number: int) -> None:
        if (job := self.jobs.get(number)) is not None:
            with contextlib.suppress(OSError):  # it has just ended
                os.kill(job.process.pid, signal_number)

    def kill(self, number: int) -> None:
        if (job := self.jobs.get(number)) is not None:
            job.kill()

    def close(self) -> None:
        if self.spare is not None:
            self.spare.kill()
            self.leaving.append(self.spare)
        for job in self.leaving:
            job.process.join(PARTING)
            job.kill()


class JobProcess:
    """A process of its own for a job: started, it waits to be told which.

    process: multiprocessing's, which takes it for ended as soon as the server is: then its pipe alone tells.
    foreseen: the job that it has got ready for, if for any.
    """

    foreseen: JobSpec | None = None

    def __init__(self) -> None:
        self.end, there = context().Pipe()
        self.process = started(_life, there)
        there.close()

    @property
    def signs(self) -> list[Any]:
        """What `multiprocessing.connection.wait` can wait for: that it has ended."""
        return [self.end] if self.process.exitcode == SERVER_GONE else [self.end, self.process.sentinel]

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
        return self.end.poll() or self.process.exitcode not in (None, SERVER_GONE)

    def clear_up(self) -> None:
        """End what a job that was lost has left: further processes of its run, in its process group."""
        with contextlib.suppress(EOFError, OSError):
            if self.end.poll():  # what it has started may hold the other end open
                self.end.recv()
                return  # it is done, and goes by itself
        self.process.join(PARTING)
        with contextlib.suppress(OSError):  # nothing is left
            os.killpg(self.process.pid, signal.SIGKILL)

    def kill(self) -> None:
        if self.process.exitcode == SERVER_GONE and not self.ended:
            with contextlib.suppress(OSError):  # it has just ended
                os.kill(self.process.pid, signal.SIGKILL)
        self.process.kill()


def _life(end: connection.Connection) -> None:
    """The life of a job's process: in a process group of its own, a signal reaches it through its sweep alone."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    with contextlib.suppress(OSError, ValueError):  # where the system can: out of memory, it ends runs before others
        own = Path("/proc/self/oom_score_adj")
        own.write_text(str(min(1000, int(own.read_text()) + EARLIER)))
    begun = threading.Event()
    end_with_the_sweep(begun)
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
    begun.set()
    run_job(spec, ready)
    with contextlib.suppress(OSError):  # the sweep was killed
        end.send(None)
