"""The runs of a sweep in its engine: who waits, who runs, who has ended, and what a signal does to them."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator

from gradloop.runs.record import FAILED, NOT_RUN, RUNNING, write_record
from gradloop.runs.signals import Listening
from gradloop.sweeps.engines import GRACE, Engine
from gradloop.sweeps.job import Task, blank_record
from gradloop.sweeps.sweep_folder import Job, Sweep, read_job_record

KILLED = "its process was killed (kill -9, out of memory, or a crash of the interpreter)"
POLL = 0.5  # seconds after which the time left is shown anew, or a signal is noticed at the latest


class Running:
    """Jobs that wait for the engine, and those that it runs.

    task_of: what the engine is to do for a job. stopped: the signal that has ended the sweep, if one has.
    """

    def __init__(self, sweep: Sweep, engine: Engine, task_of: Callable[[Job], Task]) -> None:
        self.sweep, self.engine, self.task_of = sweep, engine, task_of
        self.waiting: deque[Job] = deque()
        self.jobs: dict[int, Job] = {}
        self.stopped: int | None = None

    @property
    def free(self) -> int:
        """How many runs more the engine takes at once."""
        return self.engine.width - len(self.jobs) - len(self.waiting)

    def add(self, job: Job) -> None:
        if job not in self.waiting and job.number not in self.jobs:
            self.waiting.append(job)

    def start(self) -> list[Job]:
        """Start as many of the waiting jobs as the engine takes; return them."""
        started = []
        while self.waiting and len(self.jobs) < self.engine.width and self.stopped is None:
            job = self.waiting.popleft()
            folder = self.sweep.job_folder(job)
            if job.record or read_job_record(folder):  # of an earlier attempt: a new record is to be news
                job.record = {**read_job_record(folder), "status": NOT_RUN}
                write_record(folder, job.record)
            self.engine.start(job.number, self.task_of(job))
            job.status, job.reason = RUNNING, None
            self.jobs[job.number] = job
            started.append(job)
        if self.stopped is not None:  # it came while a run was being started
            self.stop(self.stopped)
        return started

    def ended(self) -> list[Job]:
        """Wait a moment; return the jobs that have ended meanwhile."""
        jobs = [self.jobs.pop(number) for number in self.engine.wait(POLL)]
        for job in jobs:
            self.sweep.refresh_job(job)
            if self.stopped is None and job.record.get("status", NOT_RUN) in (RUNNING, NOT_RUN):
                self._record_failure(job)
        return jobs

    def _record_failure(self, job: Job) -> None:
        folder = self.sweep.job_folder(job)
        folder.mkdir(parents=True, exist_ok=True)
        ended = {"status": FAILED, "reason": KILLED, "exit_code": 1}
        write_record(folder, {**blank_record(self.task_of(job)), **job.record, **ended})
        self.sweep.refresh_job(job)

    def stop(self, number: int) -> None:
        """Pass a signal on to every run, so that it saves its state."""
        for job in list(self.jobs):
            self.engine.stop(job, number)

    def drain(self) -> None:
        """Wait until the runs that were told to stop have ended; end those that don't."""
        deadline = time.monotonic() + GRACE
        while self.jobs:
            if time.monotonic() > deadline:
                for job in self.jobs:
                    self.engine.kill(job)
            self.ended()

    @contextlib.contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """Take a signal as the order to stop; whatever happens, leave no run behind.

        The runs get the signal at once and once: by a second one, more than a second later, they would end without
        having saved. A second one ends the sweep.
        """

        def stop(number: int) -> None:
            if self.stopped is None:
                self.stopped = number
                self.stop(number)

        with Listening(stop):
            try:
                yield
            finally:
                if self.jobs and self.stopped is None:  # an error ends the sweep
                    self.stopped = signal.SIGTERM
                    self.stop(signal.SIGTERM)
                self.drain()

    def wait_for_orphans(self) -> None:
        """Runs of a sweep that was killed save their state and end: wait for that before they are started again."""
        for job in self.sweep.jobs:
            told = False
            while not job.ended and job.record.get("status") == RUNNING and self.stopped is None:
                self.sweep.refresh_job(job)
                if job.status != RUNNING:
                    break
                if not told:
                    where = f"in process {job.record.get('pid')} on {job.record.get('host')}"
                    print(f"run {job.number} still runs {where}: waiting for its end", flush=True)
                told = True
                time.sleep(POLL)
