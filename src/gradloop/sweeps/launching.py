"""Jobs through Hydra's launchers, whatever becomes of them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gradloop.drawing.beside import process_beside
from gradloop.runs.liveness import is_alive
from gradloop.runs.record import FAILED, FINISHED, INTERRUPTED, NOT_RUN, RUNNING, machine, write_record
from gradloop.sweeps.guarded_job import STOP_FILE, Stopped
from gradloop.sweeps.stopping import runs_elsewhere
from gradloop.sweeps.sweep_folder import Job, Sweep, read_job_record

KILLED = "its process was killed (kill -9, out of memory, or a crash of the interpreter)"
POLL = 0.5  # seconds between looks at the records of running jobs


class Launching:
    """Runs jobs of a sweep through one launcher.

    in_process: the launcher runs jobs in this very process, one after the other (Hydra's basic one).
    width: how many jobs run at once.
    launch: (overrides of each job, first number) -> anything; blocks until they ended.
    observe: called whenever something may have changed.
    """

    def __init__(
        self,
        sweep: Sweep,
        *,
        kind: str,
        width: int,
        launch: Callable[[Sequence[Sequence[str]], int], Any],
        observe: Callable[[], None],
    ) -> None:
        self.sweep = sweep
        self.kind = kind
        self.width = width
        self.launch = launch
        self.observe = observe

    @property
    def in_process(self) -> bool:
        return self.kind == "basic"

    def run(self, jobs: list[Job], overrides: Callable[[Job], list[str]]) -> None:
        """Run the jobs that have not ended; return when each has a status that says how it went."""
        self._wait_for_orphans(jobs)
        jobs = [job for job in jobs if job.status not in FINISHED]
        if self.in_process:
            with process_beside() if len(jobs) > 1 else contextlib.nullcontext():
                for job in jobs:
                    self._run_here(job, overrides(job))
        else:
            with self._watched():
                # submitit's local executor starts everything it is given at once; the others keep to their width
                step = self.width if self.kind == "submitit_local" else max(1, len(jobs))
                for start in range(0, len(jobs), step):
                    self._run_elsewhere(jobs[start : start + step], overrides)
        self.observe()

    def _wait_for_orphans(self, jobs: list[Job]) -> None:
        """Jobs of a sweep that was killed may outlive it: let them end before they are started again."""
        stop_file = self.sweep.folder / STOP_FILE
        running = [job for job in jobs if job.record.get("status") == RUNNING]
        while orphans := [job for job in running if runs_elsewhere(self.sweep, job)]:
            stop_file.touch()  # their processes must not begin the next one
            for job in orphans:
                where = f"in process {job.record.get('pid')} on {job.record.get('host')}"
                print(f"run {job.number} still runs {where}: waiting for its end", flush=True)
                while runs_elsewhere(self.sweep, job):
                    time.sleep(POLL)
            time.sleep(2 * POLL)
            self.sweep.refresh()
        stop_file.unlink(missing_ok=True)

    def _run_here(self, job: Job, overrides: list[str]) -> None:
        self._queue(job)
        job.status = RUNNING
        self.observe()
        try:
            self.launch([overrides], job.number)
        except KeyboardInterrupt:
            raise Stopped(signal.SIGINT) from None
        except (Exception, SystemExit) as error:  # outside of the task: composing, Hydra's callbacks
            self._record_failure(job, f"{type(error).__name__}: {first_line(error)}")
        self.sweep.refresh_job(job)
        self.observe()
        if job.status == INTERRUPTED:  # a signal that the job has taken meant all of us
            raise Stopped(int(job.record.get("exit_code") or 130) - 128)

    def _run_elsewhere(self, jobs: list[Job], overrides: Callable[[Job], list[str]]) -> None:
        suspects = self._launch_together(jobs, overrides)
        # with a pool, one killed worker takes the others' jobs down: find the one that dies on its own
        for job in suspects:
            if self._launch_together([job], overrides):
                self._record_failure(job, KILLED)

    def _launch_together(self, jobs: list[Job], overrides: Callable[[Job], list[str]]) -> list[Job]:
        """Launch jobs until each has ended or was in flight when a process died; return the latter."""
        suspects: list[Job] = []
        waiting = list(jobs)
        while waiting:
            problem = None
            for job in waiting:
                self._queue(job)
            try:
                self.launch([overrides(job) for job in waiting], waiting[0].number)
            except KeyboardInterrupt:
                raise Stopped(signal.SIGINT) from None
            except (Exception, SystemExit) as error:
                problem = error
                self._wait_for_the_others(waiting)
            self.observe()
            begun = [job for job in waiting if job.status in (RUNNING, INTERRUPTED) and job.reason != KILLED]
            if self.kind == "joblib":
                suspects += [job for job in begun if self._died(job)]
            else:
                for job in begun:
                    if self._died(job):
                        self._record_failure(job, KILLED)
            left = [job for job in waiting if job.status == NOT_RUN]
            if len(left) == len(waiting) or problem is None:  # nothing got anywhere: the launcher itself fails
                for job in left:
                    self._record_failure(job, first_line(problem) if problem else "the launcher did not run it")
                break
            waiting = left
        self.observe()
        return suspects

    def _queue(self, job: Job) -> None:
        """Take back what an earlier attempt has recorded, so that a new record is news."""
        folder = self.sweep.job_folder(job)
        if job.record or read_job_record(folder):
            job.record = {**read_job_record(folder), "status": NOT_RUN}
            write_record(folder, job.record)
        job.status = NOT_RUN

    def _died(self, job: Job) -> bool:
        """Whether a job's record says "running" and its process is gone. A job told to end has ended."""
        if job.record.get("status") != RUNNING:
            return False
        return self.kind.startswith("submitit") or not is_alive(job.record, self.sweep.job_folder(job))

    def _wait_for_the_others(self, jobs: list[Job]) -> None:
        """One job's failure makes submitit's launcher return while the others still run."""
        if not self.kind.startswith("submitit"):  # a broken pool takes all of its processes along
            deadline = time.monotonic() + 10
            while any(runs_elsewhere(self.sweep, job) for job in jobs) and time.monotonic() < deadline:
                time.sleep(0.1)
            return
        folder = self.sweep.folder / ".submitit"
        if self.kind == "submitit_slurm":
            import submitit

            for path in folder.glob("*_*"):
                with contextlib.suppress(Exception):
                    submitit.SlurmJob(folder=folder / "%j", job_id=path.name).wait()
        else:
            running = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
            while running:
                running = [pid for pid in running if _child_runs(pid)]
                time.sleep(POLL)

    def _record_failure(self, job: Job, reason: str) -> None:
        folder = self.sweep.job_folder(job)
        folder.mkdir(parents=True, exist_ok=True)
        known = {"name": self.sweep.name, "overrides": job.overrides, "signature": job.signature, "seed": job.seed,
                 "metrics": {}, "durations": {}, **machine()}  # fmt: skip
        write_record(folder, {**known, **job.record, "status": FAILED, "reason": reason, "exit_code": 1})
        job.status = NOT_RUN  # to be read anew
        self.observe()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Look at the records now and then while the launcher blocks; it blocks for seconds before the first one."""
        ended = threading.Event()

        def watch() -> None:
            import matplotlib.backends.backend_agg  # noqa: F401 - the leaderboard's picture will need it

            while not ended.wait(POLL):
                self.observe()

        watcher = threading.Thread(target=watch, name="sweep-watcher", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _child_runs(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
