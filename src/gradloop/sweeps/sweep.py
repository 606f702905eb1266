"""A sweep from its command line to its leaderboard: `gradloop-train -m …`."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from gradloop.config.overrides import typed
from gradloop.drawing.page import PAGE
from gradloop.errors import ConfigError
from gradloop.runs.record import COMPLETED, DIVERGED, FAILED, FINISHED, INTERRUPTED, NOT_RUN
from gradloop.streams import Waiting
from gradloop.sweeps.composing import Composer, values_of_run
from gradloop.sweeps.engines import Engine, RunSpec, make_engine
from gradloop.sweeps.engines.processes import Processes, elsewhere
from gradloop.sweeps.hparams import write_session
from gradloop.sweeps.leaderboard import Leaderboard
from gradloop.sweeps.leaderboard_files import write_leaderboard
from gradloop.sweeps.leaderboard_table import print_leaderboard
from gradloop.sweeps.methods import Method, make_method
from gradloop.sweeps.opening import check_sweep, first_of, flat_space, folds_of, seeds_of, working_on
from gradloop.sweeps.planner import Planner, Setting
from gradloop.sweeps.populations import Populations
from gradloop.sweeps.progress import SweepProgress, announce
from gradloop.sweeps.running import Running
from gradloop.sweeps.search_space import read_space
from gradloop.sweeps.sweep_folder import ENDED_WELL, SWEEP_FILE, Job, Sweep


def run_sweep(
    overrides: list[str], config_dir: str | None, config_name: str, engine_of: Callable[[Any], Engine] = make_engine
) -> Ended:
    """Run what `-m` asks for. Raises ConfigError and CheckpointError before the first run."""
    if int(os.environ.get("LOCAL_RANK", 0)) > 0 or int(os.environ.get("RANK", 0)) > 0:
        raise ConfigError("-m: a second process of one run must not sweep; use devices=1 under -m")
    config, allow = check_sweep(overrides, config_dir, config_name)
    options: dict[str, Any] = OmegaConf.to_container(config.sweep, resolve=True)  # type: ignore[assignment]
    given = {**((config.hydra.get("sweeper") or {}).get("params") or {}), **flat_space(options["search_space"] or {})}
    if options["plan"]:
        options |= {"storage": None}  # a study that others search with is not to wait for settings that nobody tries
    engine = engine_of(config)
    fixed, space = read_space(overrides, given, config, config_dir)
    named = [f"--config-dir={config_dir}"] if config_dir else []
    named += [f"--config-name={config_name}"] if config_name != "train" else []
    typed = shlex.join(["gradloop-train", "-m", *named, *overrides])
    with working_on(config, options, named, typed) as sweep, contextlib.closing(engine):
        seeds, fixed = seeds_of(config, options, fixed, space, sweep)
        folds = folds_of(config, space)
        announce(config, sweep, space, seeds, folds)
        composer = Composer(config_dir, config_name, allow)
        composer.check_recorded(sweep.jobs, sweep.folder / SWEEP_FILE)
        launcher = str(config.hydra.runtime.choices["hydra/launcher"])
        planner = Planner(sweep, composer, fixed, seeds, folds, launcher=launcher, rerun=bool(options.get("rerun")))
        example = [*fixed, *first_of(space, seeds, folds)]
        engine.prepare(sweep.folder, planner.spec_of([RunSpec(sweep.folder, example)], engine.cores))
        first = functools.partial(elsewhere, values_of_run, example, config_dir, config_name, allow)
        with Waiting("importing torch and Lightning") if options["method"] == "optuna" else contextlib.nullcontext():
            method = make_method(options, space, sweep, first)
        run = SweepRun(sweep, method, planner, engine, options, example)
        if options["plan"]:
            run.plan_only()
            return Ended(Leaderboard(sweep, [], [], []), 0)
        return run.run()


@dataclass(frozen=True)
class Ended:
    """What a sweep came to. exit_code: 0: every run ended well; 128 + number: that signal has stopped it; else 1."""

    board: Leaderboard
    exit_code: int


class SweepRun:
    """The jobs of a sweep: planned, run, observed, summed up. example: overrides of a run like those to come."""

    def __init__(
        self,
        sweep: Sweep,
        method: Method,
        planner: Planner,
        engine: Engine,
        options: dict[str, Any],
        example: list[str],
    ) -> None:
        self.sweep, self.method, self.planner = sweep, method, planner
        self.options, self.example = options, example
        self.populations = Populations(
            options["population"], planner.composer, engine, method.looks_at, planner.launcher
        )
        self.running = Running(
            sweep,
            engine,
            lambda jobs: self.populations.spec(
                planner.spec(jobs, engine.cores, prunes=any(map(method.looks_at, jobs)))
            ),
            bundle=self.populations.bundle,
            retries=options["retries"],
            judge=method.give_up if method.prunes else None,
            foresee=planner.config,
        )
        self.failed: Job | None = None  # the first that did, if that ends the sweep
        self.progress = SweepProgress(sweep, total=0, width=engine.width)
        self.begun, self.spared = False, 0  # spared: runs that a setting pruned at its first seed does not need
        self.waiting_for: dict[int, list[Setting]] = {}  # a job's number -> whom its end concerns
        self.next_refresh = 0.0

    def run(self) -> Ended:
        try:
            with self.running.stopping_on_signals():
                self.running.find()
                self.running.wait_for_orphans()
                going = self._fill()
                while going:
                    ended = self.running.ended()
                    for job in ended:
                        self._check_failure(job)
                        for setting in self.waiting_for.pop(job.number, []):
                            setting.pending.discard(job.number)
                            self._go_on(setting)
                    going = self._fill()  # first: what is to be shown of those that have ended takes its time
                    for job in ended:
                        self._observe(job)
                    self.progress.update()
        finally:
            self.sweep.refresh()
            self.progress.__exit__()
        return self._finish(self.running.stopped)

    def _fill(self) -> bool:
        """Ask for settings while the engine is free, start their jobs; return whether there is any to wait for."""
        while self.running.free > 0 and self.running.stopped is None:
            proposals = self.method.propose(self._wanted())
            if not proposals:
                break
            settings = []
            for proposal in proposals:
                jobs = self.planner.plan(proposal)
                settings.append(Setting(proposal, jobs, [job for job in jobs if job.status not in FINISHED]))
                if self.running.stopped is not None:
                    break
            self.sweep.save()
            expected = self.method.expected(len(self.planner.repetitions)) - self.spared
            self.progress.total = max(len(self.sweep.jobs), expected)
            if not self.begun:
                print(f"sweep: {self.sweep.folder}", flush=True)
                self.progress.__enter__()
                self.begun = True
            for setting in settings:
                self._go_on(setting)
        for job in self.running.start():
            self._observe(job)
        return bool(self.running.jobs) and self.running.stopped is None

    def _wanted(self) -> int:
        """Return how many settings a search is asked for at once: where runs are trained as one, more than one.

        One that learns from what has ended gives as many as it draws at random in the beginning.
        """
        if (batch := self.options.get("batch")) is not None:
            return int(batch)
        startup = (self.options.get("sampler") or {}).get("startup", 1)
        return max(self.running.free, self.populations.asked_at_once(self.example, int(startup)))

    def plan_only(self) -> None:
        """Say which runs would be trained as one, and why others not: `sweep.plan=true`."""
        jobs = [job for proposal in self.method.propose(self._wanted()) for job in self.planner.plan(proposal)]
        for line in self.populations.lines(jobs):
            print(line)

    def _go_on(self, setting: Setting) -> None:
        """Hand on the jobs of a setting that are due, or report how they went.

        With a pruner, a setting's first seed decides whether the others run. One that was stopped has come to nothing
        yet: the sweep's next start goes on with it.
        """
        stopped = any(job.status == INTERRUPTED and job not in setting.due for job in setting.jobs)
        if setting.pending or stopped:
            return
        first = setting.jobs[0]
        if self.method.prunes and first not in setting.due and first.status != COMPLETED:
            for job in [job for job in setting.jobs[1:] if job.status == NOT_RUN]:
                self.planner.forget(job)
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

    def _check_failure(self, job: Job) -> None:
        if self.options["stop_on_failure"] and self.running.stopped is None and job.status in (FAILED, DIVERGED):
            self.failed, self.running.stopped = job, signal.SIGTERM
            self.running.stop(signal.SIGTERM)

    def _observe(self, job: Job) -> None:
        """Show what has become of a job; keep TensorBoard and the leaderboard up to date."""
        self.progress.update()
        write_session(self.sweep, job)
        if time.monotonic() >= self.next_refresh:
            began = time.monotonic()
            self.sweep.save()
            write_leaderboard(self.sweep)
            # a thousand rows take a while: spend a twentieth of the time on them
            self.next_refresh = time.monotonic() + 20 * (time.monotonic() - began)

    def _finish(self, stopped: int | None) -> Ended:
        sweep = self.sweep
        sweep.finished = stopped is None and all(job.ended for job in sweep.jobs)
        sweep.save()
        board = write_leaderboard(sweep)
        print_leaderboard(board)
        if repeats := self.planner.repeats:
            print(f"{repeats} not repeated: this sweep has their records (sweep.rerun=true repeats them)")
        for line in self.running.told:
            print(line)
        self.method.say(board)
        print(f"folder: {sweep.folder}\nHParams and curves: tensorboard --logdir '{sweep.folder}'", flush=True)
        # the figures' libraries are imported in the process that the runs were forked from
        from gradloop.sweeps.leaderboard_picture import draw_sweep  # with it comes numpy

        with Waiting("drawing"):
            elsewhere(draw_sweep, board) if isinstance(self.running.engine, Processes) else draw_sweep(board)
        if (page := sweep.folder / PAGE).is_file():
            print(f"page: {page}", flush=True)
        if stopped is not None:
            told = f"stopped by {signal.Signals(stopped).name}"
            told += "; its jobs go on in the cluster" if self.running.left else ""
            if (job := self.failed) is not None:
                told = f"stopped at the first failure: run {job.number} {job.status}: {job.reason}"
            print(f"{told}; to go on: {sweep.command} {typed('sweep.resume', sweep.folder)}", file=sys.stderr)
        well = all(job.status in ENDED_WELL for job in sweep.jobs)
        return Ended(board, 128 + stopped if stopped is not None and self.failed is None else int(not well))
