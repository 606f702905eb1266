"""How far a sweep is: a live bar on a terminal, a line an event elsewhere."""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from gradloop.runs.labels import short_names, show
from gradloop.runs.record import DIVERGED, FAILED, INTERRUPTED, NOT_RUN, RUNNING
from gradloop.runs.reporting import place
from gradloop.runs.screen import clock, opening
from gradloop.streams import bar_on, fitted
from gradloop.sweeps.methods import n_trials
from gradloop.sweeps.results.statistics import spread
from gradloop.sweeps.search_space import Choice, Space, plain_key
from gradloop.sweeps.sweep_folder import ENDED_WELL, SEED, Job, Sweep, say_interrupted

PLURALS = {SEED: "seeds", "fold": "folds"}
EVERY = 5.0  # seconds after which a line says anew how far the runs are, where there is no terminal
BESIDE = 28  # columns that the bar takes, but for its numbers


def announce(config: Any, space: Space, seeds: list[int] | None, folds: int | None) -> None:
    """Print what a sweep's runs have in common, and what it will try. config: the sweep's own."""
    varied = {*map(plain_key, space), *([SEED] if seeds else [])}
    if "experiment" not in varied:  # of which each may choose anything
        print(fitted(opening(config, varied)))
    print(fitted(announced(space, config["sweep"], seeds, folds)), flush=True)


def announced(space: Space, options: Mapping[str, Any], seeds: list[int] | None, folds: int | None) -> str:
    """Return what a sweep will try: `18 runs: 3 lr × 2 hidden_dims × 3 seeds`.

    space: by key. options: the `sweep` group. seeds: those that each setting runs with, if it asks for any.
    """
    names = short_names([plain_key(key) for key in space])
    tried = [(names[plain_key(key)], domain) for key, domain in space.items()]
    if options["method"] == "grid":
        listed = [([repr(value.data) for value in d.values], name) for name, d in tried if isinstance(d, Choice)]
        # what is given twice is tried once, unless that is what sweep.rerun asks for
        counts = [(len(values if options.get("rerun") else {*values}), name) for values, name in listed]
        counts = [(count, PLURALS.get(name, name) if count > 1 else name) for count, name in counts]
    else:
        count = n_trials(options)
        counts = [(count, f"setting{'s' * (count > 1)} of {', '.join(name for name, _ in tried)}")]
    counts += [(len(seeds), f"seed{'s' * (len(seeds) > 1)}")] if seeds else []
    counts += [(folds, "folds")] if folds else []
    runs = math.prod(count for count, _ in counts)
    told = " × ".join(f"{count} {name}" for count, name in counts)
    return f"{runs} run{'s' * (runs != 1)}{': ' * bool(told)}{told}"


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
        # by the number of a run of each population that trains: its epochs done, of how many
        self.trained: dict[int, tuple[int, int]] = {}
        self.first: dict[int, tuple[float, int]] = {}  # when they were seen first, and how many were done
        self.started = time.monotonic()
        self.next_line = self.started + EVERY

    def start(self) -> None:
        self.seen = {job.number: job.status for job in self.sweep.jobs if job.ended}
        if (bar := bar_on(self.out, left=False)) is not None:  # runs take longer than rich looks back
            self.bar = bar
            self.bar.start()
            self.task = self.bar.add_task("runs", total=self.total, said="starting")

    def stop(self) -> None:
        if self.bar is not None:
            self.update()
            self.bar.stop()
            self.bar = None

    def update(self) -> None:
        """Show what has changed."""
        running = [job for job in self.sweep.jobs if job.status == RUNNING]
        told = {job.number: place(self.sweep.job_folder(job)) for job in running}
        self.trained = {number: found for number, found in told.items() if found}
        for number, (epochs, _) in self.trained.items():
            self.first.setdefault(number, (time.monotonic(), epochs))
        changed = [job for job in self.sweep.jobs if self.seen.get(job.number, NOT_RUN) != job.status]
        for job in changed:
            self.seen[job.number] = job.status
            if job.status == RUNNING:
                self.began[job.number] = time.monotonic()
        ended = [job for job in changed if job.status not in (RUNNING, NOT_RUN)]
        stopped = [job for job in ended if job.status == INTERRUPTED]
        for job in ended if len(stopped) < 2 else [job for job in ended if job not in stopped]:
            self._say(f"run {job.number} {self.describe(job)}")
        if len(stopped) > 1:  # as one: they have the same to say
            self._say(say_interrupted(stopped))
        if self.bar is not None:
            done = sum(job.ended for job in self.sweep.jobs)
            room = self.bar.console.width - BESIDE - len(f"{self.total}/{self.total}")
            self.bar.update(self.task, completed=done, total=self.total, said=self.beside(room))
        elif ended or (time.monotonic() >= self.next_line and self.trained):
            self.next_line = time.monotonic() + EVERY
            self._say(f"  {self.status()}")

    def describe(self, job: Job) -> str:
        names = short_names(list(job.values))
        values = ", ".join(f"{names[key]}={show(value)}" for key, value in job.values.items())
        value = job.value(self.sweep.metric) if self.sweep.metric else None
        result = f"{self.sweep.metric} {value:.4g}" if value is not None else (job.reason or "")
        text = f"{job.status}: {result}  ({values})" if values else f"{job.status}: {result}"
        if (why := job.record.get("alone")) is not None:
            text += f"\n  alone: {why}"
        for key, found in (job.record.get("found") or {}).items():
            text += f"\n  found: {key}={show(found)}"
        return f"{text}\n  warning: {job.warning}" if job.warning else text

    def status(self) -> str:
        """`done 5/9, running 2, failed 1, best val/accuracy 0.971 (run 3), 1:03 passed, 2:10 left`"""
        failed = self.count(FAILED, DIVERGED)
        done = sum(job.ended for job in self.sweep.jobs) - failed
        parts = [f"done {done}/{self.total}", self.running(), f"failed {failed}", self.interrupted()]
        passed = f"{clock(time.monotonic() - self.started)} passed"
        return ", ".join(filter(None, [*parts, self.best(), passed, self.left()]))

    def beside(self, room: int) -> str:
        """Return what stands beside the bar: time left first. What has no room (in letters) gives way whole."""
        left, failed = self.left(), self.count(FAILED, DIVERGED)
        one = left and self.width == 1 and not self.trained  # run after run, which goes without saying
        going = self.running() if self.count(RUNNING) and not one else ""
        said = ""
        for part in filter(None, [left, f"failed {failed}" * bool(failed), self.interrupted(), going, self.best()]):
            longer = f"{said}, {part}" if said else part
            said = longer if len(longer) <= room else said
        return said

    def count(self, *statuses: str) -> int:
        return sum(job.status in statuses for job in self.sweep.jobs)

    def running(self) -> str:
        places = ", ".join(f"{done}/{epochs}" for done, epochs in self.trained.values())
        return f"running {self.count(RUNNING)}" + (f" (epoch {places})" if places else "")

    def interrupted(self) -> str:
        count = self.count(INTERRUPTED)
        return f"interrupted {count}" if count else ""

    def best(self) -> str:
        metric, pick = self.sweep.metric, max if self.sweep.mode == "max" else min
        values = {job.number: job.value(metric) for job in self.sweep.jobs} if metric else {}
        known = {number: value for number, value in values.items() if value is not None}
        if not known:
            return ""
        best = pick(known, key=lambda number: known[number])
        return f"best {metric} {known[best]:.4g} (run {best})"

    def left(self) -> str:
        seconds = self.seconds_left()
        return f"{clock(seconds)} left" if seconds else ""

    def seconds_left(self) -> float | None:
        """The mean time of a run, times the runs that are left, over how many run at once.

        While some train as one: by their epochs.
        """
        mean = spread(_share(job) for job in self.sweep.jobs if job.status in ENDED_WELL).mean
        left = self.total - sum(job.ended for job in self.sweep.jobs)
        if left <= 0:
            return None
        by_epochs = self._seconds_by_epochs(left)
        if by_epochs is not None or mean is None:
            return by_epochs
        running = [job.number for job in self.sweep.jobs if job.status == RUNNING]
        spent = sum(min(mean, time.monotonic() - self.began.get(number, time.monotonic())) for number in running)
        return max(0.0, mean * left - spent) / min(self.width, left)

    def _seconds_by_epochs(self, left: int) -> float | None:
        """Of the runs that are left, those that do not run yet take as long as those that do, as many at a time."""
        paces = []  # seconds that are left, and that the whole takes
        for number, (done, epochs) in self.trained.items():
            since, before = self.first[number]
            if done > before:
                an_epoch = (time.monotonic() - since) / (done - before)
                paces.append((an_epoch * (epochs - done), an_epoch * epochs))
        running = self.count(RUNNING)
        if not paces or not running:
            return None
        ahead, whole = max(paces)
        return ahead + whole * (left - running) / running

    def _say(self, line: str) -> None:
        if self.bar is not None:
            self.bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self.out, flush=True)


def _share(job: Job) -> float | None:
    """Return a run's seconds; of those that were trained as one, which all took as long, its share."""
    return job.seconds and job.seconds / ((job.record.get("population") or {}).get("size") or 1)
