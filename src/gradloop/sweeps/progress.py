"""How far a sweep is: a live bar on a terminal, a line an event elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

from gradloop.runs.labels import short_names, show
from gradloop.runs.record import DIVERGED, FAILED, INTERRUPTED, NOT_RUN, RUNNING
from gradloop.runs.reporting import place
from gradloop.sweeps.leaderboard import duration
from gradloop.sweeps.statistics import spread
from gradloop.sweeps.sweep_folder import Job, Sweep

EVERY = 5.0  # seconds after which a line says anew how far the runs are, where there is no terminal


class SweepProgress:
    """Shows done, running, failed, the best so far and the time left.

    total: jobs that the sweep will have in all. width: how many run at once.
    """

    def __init__(self, sweep: Sweep, *, total: int, width: int) -> None:
        self.sweep = sweep
        self.total = total
        self.width = width
        self.seen: dict[int, str] = {}
        self.began: dict[int, float] = {}
        self.out = sys.stdout
        self.bar: Any = None
        self.next_line = time.monotonic() + EVERY

    def __enter__(self) -> SweepProgress:
        self.seen = {job.number: job.status for job in self.sweep.jobs if job.ended}
        if self.out.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}")
            console = Console(file=self.out)
            self.bar = Progress(
                *columns, console=console, refresh_per_second=2, redirect_stdout=False, redirect_stderr=False
            )
            self.bar.start()
            self.task = self.bar.add_task("starting", total=self.total)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.update()
            self.bar.stop()
            self.bar = None

    def update(self) -> list[Job]:
        """Show what has changed; return the jobs whose status did."""
        changed = [job for job in self.sweep.jobs if self.seen.get(job.number, NOT_RUN) != job.status]
        for job in changed:
            self.seen[job.number] = job.status
            if job.status == RUNNING:
                self.began[job.number] = time.monotonic()
        ended = [job for job in changed if job.status not in (RUNNING, NOT_RUN)]
        for job in ended:
            self._say(f"run {job.number} {self.describe(job)}")
        if self.bar is not None:
            done = sum(job.ended for job in self.sweep.jobs)
            self.bar.update(self.task, completed=done, total=self.total, description=self.status())
        elif ended or (time.monotonic() >= self.next_line and self.places()):
            self.next_line = time.monotonic() + EVERY
            self._say(f"  {self.status()}")
        return changed

    def places(self) -> list[str]:
        """Return "40/100" for each population that trains: its epochs."""
        running = [job for job in self.sweep.jobs if job.status == RUNNING]
        told = [found for job in running if (found := place(self.sweep.job_folder(job)))]
        return [f"{done}/{epochs}" for done, epochs in told]

    def describe(self, job: Job) -> str:
        names = short_names(list(job.values))
        values = ", ".join(f"{names[key]}={show(value)}" for key, value in job.values.items())
        value = job.value(self.sweep.metric) if self.sweep.metric else None
        result = f"{self.sweep.metric} {value:.4g}" if value is not None else (job.reason or "")
        text = f"{job.status}: {result}  ({values})" if values else f"{job.status}: {result}"
        return f"{text}\n  warning: {job.warning}" if job.warning else text

    def status(self) -> str:
        """`done 5/9, running 2, failed 1, best val/accuracy 0.971 (run 3), 2.1 min left`"""
        counts = Counter(job.status for job in self.sweep.jobs)
        bad = sum(job.status in (FAILED, DIVERGED) for job in self.sweep.jobs)
        done = sum(job.ended for job in self.sweep.jobs) - bad
        places = self.places()
        running = f"running {counts[RUNNING]}" + (f" (epoch {', '.join(places)})" if places else "")
        parts = [f"done {done}/{self.total}", running, f"failed {bad}"]
        if counts[INTERRUPTED]:
            parts.append(f"interrupted {counts[INTERRUPTED]}")
        metric, pick = self.sweep.metric, max if self.sweep.mode == "max" else min
        values = {job.number: job.value(metric) for job in self.sweep.jobs} if metric else {}
        known = {number: value for number, value in values.items() if value is not None}
        if known:
            best = pick(known, key=lambda number: known[number])
            parts.append(f"best {metric} {known[best]:.4g} (run {best})")
        left = self.seconds_left()
        if left:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def seconds_left(self) -> float | None:
        """The mean time of a run, times the runs that are left, over how many run at once."""
        mean = spread(job.seconds for job in self.sweep.jobs if job.ended).mean
        left = self.total - sum(job.ended for job in self.sweep.jobs)
        if mean is None or left <= 0:
            return None
        running = [job.number for job in self.sweep.jobs if job.status == RUNNING]
        spent = sum(min(mean, time.monotonic() - self.began.get(number, time.monotonic())) for number in running)
        return max(0.0, mean * left - spent) / min(self.width, left)

    def _say(self, line: str) -> None:
        if self.bar is not None:
            self.bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self.out, flush=True)
