"""The runs of a sweep in its engine: who waits, who runs, who has ended, and what a signal does to them."""

import contextlib
import math
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

from filelock import Timeout

from gradloop.runs.folder import is_alive, lock_of
from gradloop.runs.record import FAILED, INTERRUPTED, NOT_RUN, RUNNING, Record, write_record
from gradloop.runs.reporting import answer, forget, reports
from gradloop.runs.signals import Listening
from gradloop.sweeps.engines import GRACE, Engine, JobSpec
from gradloop.sweeps.engines.job import blank_record
from gradloop.sweeps.sweep_folder import Job, Sweep, read_job_record

KILLED = "its process was killed (kill -9, out of memory, or a crash of the interpreter)"
ANSWERED_WITHIN = 0.02  # seconds: a run that reports its epochs waits for that
BRIEF = 10.0  # seconds
POLL = 0.5  # seconds after which the time left is shown anew, or a signal is noticed at the latest


class Running:
    """Runs that wait for the engine, and those that its jobs hold.

    spec_of: what the engine is to do for the runs of a job. bundle: takes the runs of the next job from those that
    wait (there is one at least); it is told how many jobs the engine has. judge: takes in an epoch of a run (its
    metric), and says why the run is to end there; None: runs report nothing. retries: how often a run that was lost
    is started again, from its checkpoint. jobs: the runs of each of the engine's jobs, by its first run's number.
    """

    def __init__(
        self,
        sweep: Sweep,
        engine: Engine,
        spec_of: Callable[[list[Job]], JobSpec],
        *,
        retries: int,
        bundle: Callable[[deque[Job], int], list[Job]],
        judge: Callable[[Job, int, float], str | None] | None = None,
    ) -> None:
        self.sweep, self.engine, self.spec_of, self.bundle = sweep, engine, spec_of, bundle
        self.retries, self.judge = retries, judge
        self.heard: Counter[int] = Counter()  # a run's number -> how many of its epochs were looked at
        self.told: list[str] = []  # a line for each run that was tried again
        self.tried: Counter[int] = Counter()  # a run's number -> how often it was lost
        self.waiting: deque[Job] = deque()
        self.here: set[int] = set()  # numbers of the runs that wait or run
        self.jobs: dict[int, list[Job]] = {}
        self.stopped: int | None = None  # the signal that has ended the sweep
        self.signalled: set[int] = set()  # jobs that were told to stop: a second signal would end them unsaved
        self.brief = False  # whether the last run was: then it counts how soon the next begins
        self.left = False  # to the cluster, which goes on with the jobs

    @property
    def free(self) -> int:
        """How many runs more the engine takes at once."""
        return self.engine.width - len(self.jobs) - len(self.waiting)

    def add(self, run: Job) -> None:
        if run.number not in self.here:
            self.here.add(run.number)
            run.status, run.reason = NOT_RUN, None  # how an earlier attempt went is past
            self.waiting.append(run)

    def start(self) -> list[Job]:
        """Start jobs for the runs that wait, as many as the engine takes; return the runs."""
        started = []
        while self.waiting and len(self.jobs) < self.engine.width and self.stopped is None:
            runs = self._take()
            if self.stopped is not None:  # a signal came while it was looked at what stacks
                self.waiting.extendleft(reversed(runs))
                break
            for run in runs:
                folder = self.sweep.job_folder(run)
                if is_alive(folder):  # by who keeps its record; the job waits for that
                    continue
                if run.record or read_job_record(folder):  # of an earlier attempt: a new record is to be news
                    run.record = {**read_job_record(folder), "status": NOT_RUN}
                    write_record(folder, run.record)
            self.engine.start(runs[0].number, self.spec_of(runs))
            for run in runs:
                run.status, run.reason = RUNNING, None
            self.jobs[runs[0].number] = runs
            started += runs
        if started and self.waiting and self.stopped is None:
            self._foresee()
        if started and self.stopped is not None:  # it came while a job was being started
            self.stop(self.stopped)
        return started

    def _take(self) -> list[Job]:
        """Take the runs of the next job. One that was lost runs alone: it may be what the others had no room for."""
        if self.tried[self.waiting[0].number]:
            return [self.waiting.popleft()]
        runs = self.bundle(deque(run for run in self.waiting if not self.tried[run.number]), len(self.jobs))
        self.waiting = deque(run for run in self.waiting if run.number not in {taken.number for taken in runs})
        return runs

    def _foresee(self) -> None:
        """Compose the next run while others run. A brief one the engine may build, too: its data take memory."""
        runs = self.bundle(deque(self.waiting), len(self.jobs) - 1)
        spec = self.spec_of(runs)
        if self.brief and len(runs) == 1:
            self.engine.foresee(spec)

    def ended(self) -> list[Job]:
        """Wait a moment; return the runs that have ended meanwhile, but for those that are tried again.

        That is when their job has, or, of several in one job, when their record says so.
        """
        ended: list[Job] = []
        for number, taken_by in self._wait().items():
            for run in self.jobs.pop(number, ()):  # none, of a job that is no longer this sweep's
                if self.judge is not None:
                    self._answer(run)  # its last epoch may have come with its end
                self.sweep.refresh_job(run)
                self._outlast(run)  # a process of an earlier start may have begun it meanwhile
                # a run may still have saved where its machine was taken away
                gone = (RUNNING, NOT_RUN, *([INTERRUPTED] if taken_by else []))
                lost = run.record.get("status", NOT_RUN) in gone and self.stopped is None
                if not lost and not run.record:
                    run.status = NOT_RUN  # it was stopped before it had begun
                if lost and self.tried[run.number] < self.retries:
                    self.tried[run.number] += 1
                    run.status, run.reason = NOT_RUN, taken_by or KILLED
                    self.told.append(f"run {run.number} was lost and tried again: {run.reason}")
                    self.waiting.appendleft(run)
                    continue
                if lost:
                    self._record_loss(run, taken_by or KILLED)
                self.brief = run.record.get("durations", {}).get("total", math.inf) < BRIEF
                ended.append(run)
        for runs in self.jobs.values():
            for run in list(runs) if len(runs) > 1 else ():
                self.sweep.refresh_job(run)
                if run.ended and self.stopped is None:
                    runs.remove(run)
                    ended.append(run)
        for run in ended:
            self.here.discard(run.number)
            if run.ended:
                forget(self.sweep.job_folder(run))
        return ended

    def find(self) -> None:
        """Take over the jobs of an earlier start that the engine still has; the sweep may be named by a link now."""
        by_folder = {self.sweep.job_folder(run).resolve(): run for run in self.sweep.jobs}
        for number, folders in self.engine.found().items():
            if not (runs := [by_folder[path] for path in (each.resolve() for each in folders) if path in by_folder]):
                continue  # of another sweep, or one that lay elsewhere: none of ours to wait for, or to cancel
            self.jobs[number] = runs
            self.here |= {run.number for run in self.jobs[number]}
            names = [str(run.number) for run in self.jobs[number]]
            print(f"run{'s' * (len(names) > 1)} {', '.join(names)}: found in the cluster")

    def _wait(self) -> dict[int, str | None]:
        if self.judge is None:
            return self.engine.wait(POLL)
        until = time.monotonic() + POLL
        while not (ended := self.engine.wait(ANSWERED_WITHIN)) and time.monotonic() < until:
            for run in [run for runs in self.jobs.values() for run in runs]:
                self._answer(run)
        return ended

    def _answer(self, run: Job) -> None:
        """Look at the epochs that a run has reported since, and tell it whether it goes on."""
        assert self.judge is not None
        folder = self.sweep.job_folder(run)
        told = reports(folder)
        for epoch, value in told[self.heard[run.number] :]:
            reason = self.judge(run, epoch, value)
            answer(folder, epoch, reason)
            if reason is not None:
                break
        self.heard[run.number] = len(told)

    def _record_loss(self, run: Job, reason: str) -> None:
        """Write how a run was lost; not of one that another process works on."""
        folder = self.sweep.job_folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        ended: Record = {"status": FAILED, "reason": reason, "exit_code": 1}
        (spec,) = self.spec_of([run]).runs
        with contextlib.suppress(Timeout), lock_of(folder).acquire(timeout=POLL):
            write_record(folder, {**blank_record(spec), **run.record, **ended})
        self.sweep.refresh_job(run)
        if run.status == RUNNING:
            run.reason = "another process works on it"

    def stop(self, number: int) -> None:
        """Pass a signal on to every run, so that it saves its state."""
        for job in list(self.jobs) if not self.left else ():
            if job not in self.signalled:
                self.signalled.add(job)
                self.engine.stop(job, number)

    def drain(self) -> None:
        """Wait until the runs that were told to stop have ended; end those that don't."""
        deadline, killed = time.monotonic() + GRACE, False
        while self.jobs and not self.left:
            if time.monotonic() > deadline:
                if killed:
                    print(f"{len(self.jobs)} jobs do not end: left to themselves", flush=True)
                    break
                for job in self.jobs:
                    self.engine.kill(job)
                deadline, killed = time.monotonic() + GRACE, True
            self.ended()

    @contextlib.contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """Take a signal as the order to stop; whatever happens, leave no run behind.

        The runs get the signal at once and once: by a second one, more than a second later, they would end without
        having saved. A second one ends the sweep.
        """

        def stop(number: int) -> None:
            if self.stopped is None:
                self.stopped, self.left = number, number in self.engine.leaves
                self.stop(number)

        with Listening(stop):
            try:
                yield
            finally:
                if self.jobs:  # an error ends the sweep, if no signal has
                    stop(signal.SIGTERM)
                self.drain()

    def wait_for_orphans(self) -> None:
        """Runs of a sweep that was killed save their state and end: wait for that before they are started again."""
        for job in [job for job in self.sweep.jobs if job.number not in self.here]:
            self._outlast(job)

    def _outlast(self, job: Job) -> None:
        told = ""
        while not job.ended and job.record.get("status") == RUNNING and self.stopped is None:
            self.sweep.refresh_job(job)
            if job.status != RUNNING:
                break
            if not told:
                told = f"in process {job.record.get('pid')} on {job.record.get('host')}"
                print(f"run {job.number} still runs {told}: waiting for its end", flush=True)
            time.sleep(POLL)
