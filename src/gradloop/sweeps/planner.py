"""From settings to jobs: those that a sweep knows already, and new ones with the next numbers."""

import contextlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gradloop.config.overrides import quoted
from gradloop.config.signature import IRRELEVANT, is_below
from gradloop.config.signature import signature as signature_of
from gradloop.errors import GradloopError
from gradloop.runs.planning import Config, plan
from gradloop.runs.record import FINISHED
from gradloop.sweeps.composing import Composer, changed_keys, check_devices
from gradloop.sweeps.engines import JobSpec, RunSpec
from gradloop.sweeps.methods import Proposal
from gradloop.sweeps.search_space import Point, Value, plain_key
from gradloop.sweeps.sweep_folder import REPEATED, SEED, Job, Sweep, as_text


@dataclass(eq=False)
class Setting:
    """A setting whose jobs are not all done. due: those not handed on yet; pending: numbers of those that are."""

    proposal: Proposal
    jobs: list[Job]
    due: list[Job]
    pending: set[int] = field(default_factory=set)


class Planner:
    """Plans the jobs of a sweep.

    fixed: overrides that all jobs get. seeds: that every setting runs with (None: the command line names the seed).
    folds: how many it runs on with each seed (None: the data's own test part, or the command line names the fold).
    rerun: finished jobs don't count as known. repeats: how many jobs were asked for that there are already; twice:
    how many more than once by this command.
    """

    def __init__(
        self,
        sweep: Sweep,
        composer: Composer,
        fixed: list[str],
        seeds: list[int] | None,
        folds: int | None = None,
        *,
        launcher: str,
        rerun: bool,
    ) -> None:
        self.sweep, self.composer, self.launcher = sweep, composer, launcher
        self.fixed, self.rerun = fixed, rerun
        self.repetitions: Sequence[tuple[int | None, int | None]] = list(
            itertools.product(seeds or (None,), range(folds) if folds else (None,))
        )
        again = [job for job in sweep.jobs if not (rerun and job.status in FINISHED)]
        self.known = {identity(job.signature, job.values, job.overrides): job for job in again}
        self.repeats = self.twice = 0
        self.planned: set[int] = set()  # by this command
        self.asked: set[int] = set()  # for by this command: numbers of those, and of jobs that were there
        self.next = max((job.number for job in sweep.jobs), default=-1) + 1
        self.noted: set[str] = set()  # keys that every job has a value of
        self.changed = changed_keys(composer, fixed, sweep.jobs)
        self.ahead: dict[int, Config | None] = {}  # by number, of the jobs that are next

    def plan(self, proposal: Proposal) -> list[Job]:
        """The jobs of one setting: known ones by their signature, new ones with the next numbers."""
        if proposal.jobs is not None:
            return proposal.jobs
        jobs = []
        for repetition in self.repetitions:
            point: Point = dict(proposal.point)
            for key, number in zip(REPEATED, repetition, strict=True):
                if number is not None:
                    point[key] = Value(number, str(number))
            overrides = [*self.fixed, *(f"{key}={value.text}" for key, value in point.items())]
            composed = self.composer.values(overrides)
            check_devices(composed, self.launcher)
            signature = signature_of(composed)
            values = {plain_key(key): value.data for key, value in point.items()}
            values |= {key: self.composer.value(overrides, key) for key in self.changed}
            job = self.known.get(same := identity(signature, values, overrides))
            if job is None:
                number, self.next = self.next, self.next + 1
                job = Job(number, values, overrides, signature, proposal.trial)
                self.sweep.jobs.append(job)
                self.planned.add(number)
                if not self.rerun:
                    self.known[same] = job
                self._note_keys(job)
            else:
                if job.status not in FINISHED and job.number not in self.asked:
                    job.overrides = overrides  # what can't change its result may have been asked for otherwise
                self.twice += job.number in self.asked
                self.repeats += job.number not in self.asked and job.status in FINISHED
            self.asked.add(job.number)
            if proposal.trial is not None and job.trial is None:
                job.trial = proposal.trial
            jobs.append(job)
        return jobs

    def _note_keys(self, new: Job) -> None:
        """Add to the varied keys; jobs of before have the new key's value in their config."""
        fresh = new.values.keys() - self.noted
        self.noted |= fresh
        self.sweep.keys += [key for key in new.values if key not in (*REPEATED, *self.sweep.keys)]
        for job in self.sweep.jobs if fresh else [new]:
            for key in [*self.sweep.keys, *(key for key in REPEATED if key in self.noted)]:
                if key not in job.values:
                    job.values[key] = self.composer.value(job.overrides, key)

    def forget(self, job: Job) -> None:
        """Take out a job that is not to be run after all."""
        self.sweep.jobs.remove(job)
        self.known.pop(identity(job.signature, job.values, job.overrides), None)

    def spec(self, jobs: Sequence[Job], cores: int, *, prunes: bool) -> JobSpec:
        """Return what an engine is told of the runs that one of its jobs holds. prunes: they report every epoch."""
        name = self.sweep.name
        runs = [
            RunSpec(
                folder=self.sweep.job_folder(job),
                overrides=job.overrides,
                known={"name": name, "signature": job.signature, "seed": self.composer.values(job.overrides)[SEED]},
                config=self.config(job),
            )
            for job in jobs
        ]
        first, *others = [job.number for job in jobs]  # of one alone, it is asked for twice
        self.ahead = {n: config for n, config in self.ahead.items() if n >= first and n not in others}
        return self.spec_of(runs, cores, prunes=prunes)

    def config(self, job: Job) -> Config | None:
        """Return what a job's run is to do, composed while others run; None: its own process has to.

        That is where it asks the user's code, or would itself say what is wrong.
        """
        if job.number not in self.ahead:
            config: Config | None = None
            own_code = any("_target_" in line for line in job.overrides) or "SLURM_RESTART_COUNT" in os.environ
            if self.launcher == "processes" and not own_code:
                place = f"hydra.run.dir={quoted(str(self.sweep.job_folder(job)))}"
                with contextlib.suppress(GradloopError):
                    config = plan(
                        [*job.overrides, place], self.composer.config_dir, self.composer.config_name, of_sweep=True
                    )
            self.ahead[job.number] = config
        return self.ahead[job.number]

    def spec_of(self, runs: list[RunSpec], cores: int, *, prunes: bool = False) -> JobSpec:
        known = self.composer
        return JobSpec(
            tuple(runs), known.config_dir, known.config_name, cores, os.getcwd(), allow=known.allow, prunes=prunes
        )


def _beside(key: str) -> bool:
    """Whether a key, or something below it, is without an effect on results: `callbacks` has callbacks that are."""
    return is_below(key, IRRELEVANT) or any(is_below(name, [key]) for name in IRRELEVANT)


def identity(signature: str, values: dict[str, Any], overrides: Sequence[str]) -> str:
    """What makes two jobs the same: what they compute, and what was varied although it can't change results."""
    named = {plain_key(text.partition("=")[0]) for text in overrides}
    besides = {key: value for key, value in values.items() if key in named and _beside(key)}
    return signature + as_text(besides)
