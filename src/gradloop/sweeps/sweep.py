"""A sweep from its command line to its leaderboard: `gradloop-train -m …`."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from gradloop.config.signature import relevant
from gradloop.errors import CheckpointError, ConfigError
from gradloop.process import tell
from gradloop.runs.checkpoint_files import RESUMABLE
from gradloop.runs.record import COMPLETED, FINISHED, NOT_RUN
from gradloop.sweeps.composing import Composer, changed_keys
from gradloop.sweeps.guarded_job import GuardedJob, Stopped
from gradloop.sweeps.hparams import write_session
from gradloop.sweeps.launchers import launcher_of
from gradloop.sweeps.launching import Launching
from gradloop.sweeps.leaderboard import write_leaderboard
from gradloop.sweeps.leaderboard_table import print_leaderboard
from gradloop.sweeps.methods import Method, Proposal, make_method
from gradloop.sweeps.opening import flat_space, open_sweep, seeds_of
from gradloop.sweeps.progress import SweepProgress
from gradloop.sweeps.search_space import Point, Value, plain_key, read_space
from gradloop.sweeps.stopping import stopping_on_signals
from gradloop.sweeps.sweep_folder import ENDED_WELL, SEED, SWEEP_FILE, Job, Sweep, as_text

LOCK = ".sweep.lock"


def run_sweep(
    *, config: Any, arguments: Sequence[str], params: dict[str, str], hydra_context: Any, task: Any
) -> None:
    """Run what `-m` asks for. Raises ConfigError and CheckpointError before the first run, SystemExit at the end
    of a sweep in which not every run ended well, or which was stopped.
    """
    from omegaconf import OmegaConf

    if int(os.environ.get("LOCAL_RANK", 0)) > 0 or int(os.environ.get("RANK", 0)) > 0:
        raise ConfigError("-m: a second process of one run must not sweep; use devices=1 under -m")
    options: dict[str, Any] = OmegaConf.to_container(config.sweep, resolve=True)  # type: ignore[assignment]
    given = {**params, **flat_space(options.get("search_space") or {})}
    fixed, space = read_space(arguments, given, hydra_context.config_loader, config)
    sweep = open_sweep(config, options)
    from filelock import FileLock, Timeout

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
        composer = Composer(config, hydra_context, task=GuardedJob(task), folder=sweep.folder)
        composer.check_recorded(sweep.jobs, sweep.folder / SWEEP_FILE)
        method = make_method(options, space, sweep, lambda: composer.values([*fixed, *_first(space, seeds)]))
        SweepRun(sweep, method, composer, fixed=fixed, seeds=seeds, options=options).run()
    finally:
        lock.release()
        if not (sweep.folder / SWEEP_FILE).exists():  # refused before anything was planned
            shutil.rmtree(sweep.folder, ignore_errors=True)


class SweepRun:
    """The jobs of a sweep: planned, launched, observed, summed up."""

    def __init__(
        self,
        sweep: Sweep,
        method: Method,
        composer: Composer,
        *,
        fixed: list[str],
        seeds: list[int] | None,
        options: dict[str, Any],
    ) -> None:
        self.sweep, self.method, self.composer = sweep, method, composer
        self.fixed, self.seeds, self.options = fixed, seeds, options
        self.rerun = bool(options.get("rerun"))
        again = [job for job in sweep.jobs if not (self.rerun and job.status in FINISHED)]
        self.known = {identity(job.signature, job.values): job for job in again}
        kind, width, self.cores = launcher_of(composer.config)
        self.launching = Launching(sweep, kind=kind, width=width, launch=composer.launch, observe=self.observe)
        self.progress = SweepProgress(sweep, total=0, width=width)
        self.repeats = 0
        self.spared = 0  # runs that a setting pruned at its first seed does not need
        self.planned: set[int] = set()  # by this command
        self.changed = changed_keys(composer, fixed, sweep.jobs)
        self.next_refresh = 0.0
        self.busy = threading.RLock()

    def run(self) -> None:
        stopped: Stopped | None = None
        tell(cores=self.cores)
        try:
            with stopping_on_signals(self.sweep, self.launching.kind):
                self._run_all()
        except Stopped as stop:
            stopped = stop
        finally:
            tell(cores=None)
            self.progress.__exit__()
        self._finish(stopped)

    def _run_all(self) -> None:
        batch = self.options.get("batch") or (1 if self.launching.in_process else min(self.launching.width, 16))
        begun = False
        while proposals := self.method.propose(batch):
            jobs = {proposal: self.plan(proposal) for proposal in proposals}
            self.composer.check_devices(self.launching.kind)
            self.sweep.save()
            runs_each = len(self.seeds) if self.seeds else 1
            self.progress.total = max(len(self.sweep.jobs), self.method.expected(runs_each) - self.spared)
            if not begun:
                print(f"sweep: {self.sweep.folder}", flush=True)
                self.progress.__enter__()
                begun = True
            self._run_batch(jobs)
            for proposal, of_it in jobs.items():
                self.method.report(proposal, of_it)
            self.sweep.save()

    def _run_batch(self, jobs: dict[Proposal, list[Job]]) -> None:
        """Run a batch of settings; with a pruner, a setting's first seed decides whether the others run."""
        if not self.method.prunes:
            self._launch([job for of_it in jobs.values() for job in of_it])
            return
        self._launch([of_it[0] for of_it in jobs.values()])
        for of_it in jobs.values():
            if of_it[0].status != COMPLETED:
                for job in [job for job in of_it[1:] if job.status == NOT_RUN]:
                    self.sweep.jobs.remove(job)
                    self.known.pop(identity(job.signature, job.values), None)
                    of_it.remove(job)
                    self.spared += 1
        self._launch([job for of_it in jobs.values() for job in of_it[1:]])

    def _launch(self, jobs: list[Job]) -> None:
        pending = {job.number: job for job in jobs if job.status not in FINISHED}
        if pending:
            self.launching.run(list(pending.values()), self.overrides)

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

    def overrides(self, job: Job) -> list[str]:
        """What the job gets on its command line: its setting, and where and how it is to run."""
        extra = [f"hydra.sweep.subdir='{job.number}'"]
        checkpoints = self.sweep.job_folder(job) / "checkpoints"
        # a cluster may start a job anew that it has taken off a machine
        requeued = self.launching.kind.startswith("submitit")
        if requeued or any((checkpoints / name).exists() for name in RESUMABLE):
            extra.append("++sweep.continue=true")
        return [*job.overrides, *extra, *self.method.extra_overrides(job)]

    def observe(self) -> None:
        """Take in what the jobs have recorded; show it; keep TensorBoard and the leaderboard up to date."""
        with self.busy:
            self.sweep.refresh()
            changed = self.progress.update()
            for job in changed:
                if job.status != NOT_RUN:
                    write_session(self.sweep, job)
            if changed and time.monotonic() >= self.next_refresh:
                began = time.monotonic()
                self.sweep.save()
                write_leaderboard(self.sweep, picture=False)
                # a thousand rows take a while: spend a twentieth of the time on them
                self.next_refresh = time.monotonic() + 20 * (time.monotonic() - began)

    def _finish(self, stopped: Stopped | None) -> None:
        sweep = self.sweep
        sweep.refresh()
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
            print(f"{stopped}; to go on: {sweep.command} sweep.resume={sweep.folder}", file=sys.stderr)
            raise SystemExit(128 + stopped.number)
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
