"""A sweep from its command line to its leaderboard: `gradloop-train -m …`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from gradloop.config.signature import relevant
from gradloop.errors import CheckpointError, ConfigError
from gradloop.runs.record import COMPLETED, FINISHED, NOT_RUN
from gradloop.sweeps.composing import Composer, changed_keys, check_devices
from gradloop.sweeps.engines import Engine, make_engine
from gradloop.sweeps.hparams import write_session
from gradloop.sweeps.job import Task
from gradloop.sweeps.leaderboard import write_leaderboard
from gradloop.sweeps.leaderboard_table import print_leaderboard
from gradloop.sweeps.methods import Method, Proposal, make_method
from gradloop.sweeps.opening import flat_space, open_sweep, seeds_of
from gradloop.sweeps.progress import SweepProgress
from gradloop.sweeps.running import Running
from gradloop.sweeps.search_space import Point, Value, plain_key, read_space
from gradloop.sweeps.sweep_check import check_sweep
from gradloop.sweeps.sweep_folder import ENDED_WELL, SEED, SWEEP_FILE, Job, Sweep, as_text

LOCK = ".sweep.lock"


def run_sweep(
    overrides: list[str],
    config_dir: str | None,
    config_name: str,
    engine_of: Callable[[Any], Engine] = make_engine,
) -> None:
    """Run what `-m` asks for. Raises ConfigError and CheckpointError before the first run, SystemExit at the end
    of a sweep in which not every run ended well, or which was stopped.
    """
    if int(os.environ.get("LOCAL_RANK", 0)) > 0 or int(os.environ.get("RANK", 0)) > 0:
        raise ConfigError("-m: a second process of one run must not sweep; use devices=1 under -m")
    config, allow = check_sweep(overrides, config_dir, config_name)
    options: dict[str, Any] = OmegaConf.to_container(config.sweep, resolve=True)  # type: ignore[assignment]
    given = {**((config.hydra.get("sweeper") or {}).get("params") or {}), **flat_space(options["search_space"] or {})}
    engine = engine_of(config)
    fixed, space = read_space(overrides, given, config, config_dir)
    named = [f"--config-dir={config_dir}"] if config_dir else []
    named += [f"--config-name={config_name}"] if config_name != "train" else []
    sweep = open_sweep(config, options, named)
    lock = FileLock(sweep.folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise CheckpointError(
            f"{sweep.folder}: another process works on this sweep; to search with it, start a sweep of your own with "
            f"sweep.storage={sweep.storage or '…'} sweep.study={sweep.study or '…'}"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{sweep.folder / LOCK}: can't be locked: {error.strerror}") from error
    try:
        seeds, fixed = seeds_of(config, options, fixed, space, sweep)
        composer = Composer(config_dir, config_name, allow)
        composer.check_recorded(sweep.jobs, sweep.folder / SWEEP_FILE)
        engine.prepare(sweep.folder)
        method = make_method(options, space, sweep, lambda: composer.values([*fixed, *_first(space, seeds)]))
        launcher = str(config.hydra.runtime.choices["hydra/launcher"])
        SweepRun(sweep, method, composer, engine, launcher, fixed=fixed, seeds=seeds, options=options).run()
    finally:
        lock.release()
        if not (sweep.folder / SWEEP_FILE).exists():  # refused before anything was planned
            shutil.rmtree(sweep.folder, ignore_errors=True)


@dataclass(eq=False)
class Setting:
    """A setting whose jobs are not all done. due: those not handed on yet; pending: numbers of those that are."""

    proposal: Proposal
    jobs: list[Job]
    due: list[Job]
    pending: set[int] = field(default_factory=set)


class SweepRun:
    """The jobs of a sweep: planned, run, observed, summed up."""

    def __init__(
        self,
        sweep: Sweep,
        method: Method,
        composer: Composer,
        engine: Engine,
        launcher: str,
        *,
        fixed: list[str],
        seeds: list[int] | None,
        options: dict[str, Any],
    ) -> None:
        self.sweep, self.method, self.composer = sweep, method, composer
        self.engine, self.launcher = engine, launcher
        self.fixed, self.seeds, self.options = fixed, seeds, options
        self.rerun = bool(options.get("rerun"))
        again = [job for job in sweep.jobs if not (self.rerun and job.status in FINISHED)]
        self.known = {identity(job.signature, job.values): job for job in again}
        self.running = Running(sweep, engine, self.task)
        self.progress = SweepProgress(sweep, total=0, width=engine.width)
        self.begun = False
        self.repeats = 0
        self.spared = 0  # runs that a setting pruned at its first seed does not need
        self.planned: set[int] = set()  # by this command
        self.waiting_for: dict[int, list[Setting]] = {}  # a job's number -> whom its end concerns
        self.changed = changed_keys(composer, fixed, sweep.jobs)
        self.next_refresh = 0.0

    def run(self) -> None:
        try:
            with self.running.stopping_on_signals():
                self.running.wait_for_orphans()
                while self._fill():
                    for job in self.running.ended():
                        self._observe(job)
                        for setting in self.waiting_for.pop(job.number, []):
                            setting.pending.discard(job.number)
                            self._go_on(setting)
                    self.progress.update()
        finally:
            self.sweep.refresh()
            self.progress.__exit__()
        self._finish(self.running.stopped)

    def _fill(self) -> bool:
        """Ask for settings while the engine is free, start their jobs; return whether there is any to wait for."""
        while self.running.free > 0 and self.running.stopped is None:
            proposals = self.method.propose(self.options.get("batch") or self.running.free)
            if not proposals:
                break
            settings = []
            for proposal in proposals:
                jobs = self.plan(proposal)
                settings.append(Setting(proposal, jobs, [job for job in jobs if job.status not in FINISHED]))
                if self.running.stopped is not None:
                    break
            self.sweep.save()
            runs_each = len(self.seeds) if self.seeds else 1
            self.progress.total = max(len(self.sweep.jobs), self.method.expected(runs_each) - self.spared)
            if not self.begun:
                print(f"sweep: {self.sweep.folder}", flush=True)
                self.progress.__enter__()
                self.begun = True
            for setting in settings:
                self._go_on(setting)
        for job in self.running.start():
            self._observe(job)
        return bool(self.running.jobs) and self.running.stopped is None

    def _go_on(self, setting: Setting) -> None:
        """Hand on the jobs of a setting that are due, or report how they went.

        With a pruner, a setting's first seed decides whether the others run.
        """
        if setting.pending:
            return
        first = setting.jobs[0]
        if self.method.prunes and first not in setting.due and first.status != COMPLETED:
            for job in [job for job in setting.jobs[1:] if job.status == NOT_RUN]:
                self.sweep.jobs.remove(job)
                self.known.pop(identity(job.signature, job.values), None)
                setting.jobs.remove(job)
                self.spared += 1
            setting.due = []
        handed = setting.due[:1] if self.method.prunes and first in setting.due else setting.due
        setting.due = setting.due[len(handed) :]
        for job in handed:
            self.running.add(job)
            setting.pending.add(job.number)
            self.waiting_for.setdefault(job.number, []).append(setting)
        if not handed:
            self.method.report(setting.proposal, setting.jobs)
            self.sweep.save()

    def plan(self, proposal: Proposal) -> list[Job]:
        """The jobs of one setting: known ones by their signature, new ones with the next numbers."""
        if proposal.jobs is not None:
            return proposal.jobs
        jobs = []
        for seed in self.seeds or (None,):
            point: Point = dict(proposal.point)
            if seed is not None:
                point[SEED] = Value(seed, str(seed))
            overrides = [*self.fixed, *(f"{key}={value.text}" for key, value in point.items())]
            signature = self.composer.signature(overrides)
            check_devices(self.composer.values(overrides), self.launcher)
            values = {plain_key(key): value.data for key, value in point.items()}
            values |= {key: self.composer.value(overrides, key) for key in self.changed}
            job = self.known.get(identity(signature, values))
            if job is None:
                number = max((job.number for job in self.sweep.jobs), default=-1) + 1
                job = Job(number, values, overrides, signature, proposal.trial)
                self.sweep.jobs.append(job)
                self.planned.add(number)
                if not self.rerun:
                    self.known[identity(signature, values)] = job
                self._note_keys(values)
            else:
                self.repeats += job.status in FINISHED or job.number in self.planned
            if proposal.trial is not None and job.trial is None:
                job.trial = proposal.trial
            jobs.append(job)
        return jobs

    def _note_keys(self, values: dict[str, Any]) -> None:
        """Add to the varied keys; jobs of before have the new key's value in their config."""
        for key in values:
            if key != SEED and key not in self.sweep.keys:
                self.sweep.keys.append(key)
        for job in self.sweep.jobs:
            for key in [*self.sweep.keys, *([SEED] if SEED in values else [])]:
                if key not in job.values:
                    job.values[key] = self.composer.value(job.overrides, key)

    def task(self, job: Job) -> Task:
        """What the engine is told of a job."""
        composer = self.composer
        known = {"name": self.sweep.name, "signature": job.signature, "seed": job.values.get(SEED, self.sweep.seed)}
        return Task(
            self.sweep.job_folder(job),
            job.overrides,
            composer.config_dir,
            composer.config_name,
            self.engine.cores,
            composer.allow,
            self.method.extra_overrides(job),
            known,
        )

    def _observe(self, job: Job) -> None:
        """Show what has become of a job; keep TensorBoard and the leaderboard up to date."""
        self.progress.update()
        write_session(self.sweep, job)
        if time.monotonic() >= self.next_refresh:
            began = time.monotonic()
            self.sweep.save()
            write_leaderboard(self.sweep, picture=False)
            # a thousand rows take a while: spend a twentieth of the time on them
            self.next_refresh = time.monotonic() + 20 * (time.monotonic() - began)

    def _finish(self, stopped: int | None) -> None:
        sweep = self.sweep
        sweep.finished = stopped is None and all(job.ended for job in sweep.jobs)
        sweep.save()
        board = write_leaderboard(sweep, picture=True)
        print_leaderboard(board)
        if self.repeats:
            print(f"{self.repeats} not repeated: this sweep has their records (sweep.rerun=true repeats them)")
        self.method.say(board)
        print(f"folder: {sweep.folder}")
        print(f"HParams and curves: tensorboard --logdir '{sweep.folder}'", flush=True)
        if stopped is not None:
            told = f"stopped by {signal.Signals(stopped).name}"
            print(f"{told}; to go on: {sweep.command} sweep.resume={sweep.folder}", file=sys.stderr)
            raise SystemExit(128 + stopped)
        if not all(job.status in ENDED_WELL for job in sweep.jobs):
            raise SystemExit(1)


def identity(signature: str, values: dict[str, Any]) -> str:
    """What makes two jobs the same: what they compute, and what was varied although it can't change results."""
    return signature + as_text({key: value for key, value in values.items() if not relevant({key: value})})


def _first(space: dict[str, Any], seeds: list[int] | None) -> list[str]:
    """One point of the space, to see what a config of this sweep looks like."""
    import random

    generator = random.Random(0)
    point = [f"{key}={domain.draw(generator).text}" for key, domain in space.items()]
    return [*point, *([f"{SEED}={seeds[0]}"] if seeds else [])]
