"""The jobs of a sweep: planned, run, observed, summed up."""

import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

from gradloop.config.overrides import typed
from gradloop.drawing.page import PAGE
from gradloop.errors import ConfigError, said
from gradloop.runs.record import COMPLETED, DIVERGED, FAILED, FINISHED, INTERRUPTED, NOT_RUN
from gradloop.runs.screen import tensorboard_command
from gradloop.streams import Waiting
from gradloop.sweeps.engines import Engine
from gradloop.sweeps.engines.processes import Processes
from gradloop.sweeps.engines.server import elsewhere
from gradloop.sweeps.methods import Method
from gradloop.sweeps.planner import Planner, Setting
from gradloop.sweeps.populations import Populations
from gradloop.sweeps.progress import SweepProgress
from gradloop.sweeps.results.files import write_leaderboard
from gradloop.sweeps.results.hparams import write_session, write_sessions
from gradloop.sweeps.results.leaderboard import Leaderboard
from gradloop.sweeps.results.table import print_leaderboard
from gradloop.sweeps.running import Running
from gradloop.sweeps.sweep_folder import ENDED_WELL, Job, Sweep


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
        stopped = lambda: self.running.stopped is not None  # noqa: E731
        self.populations = Populations(options["population"], planner, engine, method, stopped)
        self.running: Running = Running(
            sweep,
            engine,
            self.populations.spec,
            bundle=self.populations.bundle,
            retries=options["retries"],
            judge=method.give_up if method.prunes else None,
        )
        self.failed: Job | None = None  # the first that did, if that ends the sweep
        self.wrong: ConfigError | None = None
        self.progress = SweepProgress(sweep, total=0, width=engine.width)
        self.begun = False
        self.waiting_for: dict[int, list[Setting]] = {}  # a job's number -> whom its end concerns
        self.next_refresh = 0.0

    def run(self) -> Ended:
        try:
            with self.running.stopping_on_signals():
                self.running.find()
                self.running.wait_for_orphans()
                write_sessions(self.sweep)
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
                    self._count()
                    self.progress.update()
        finally:
            self.sweep.refresh()
            self.progress.stop()
        return self._finish(self.running.stopped)

    def _fill(self) -> bool:
        """Ask for settings while the engine is free, start their jobs; return whether there is any to wait for."""
        while self.running.free > 0 and self.running.stopped is None:
            proposals = self.method.propose(self._wanted())
            self.sweep.cut = bool(proposals)
            if not proposals:
                break
            settings = []
            for proposal in proposals:
                jobs = self.planner.plan(proposal)
                settings.append(Setting(proposal, jobs, [job for job in jobs if job.status not in FINISHED]))
                if self.running.stopped is not None:
                    break
            self.sweep.cut = len(settings) < len(proposals)
            self.sweep.save()
            self._count()
            if not self.begun:
                print(f"sweep: {self.sweep.folder}", flush=True)
                self._say_others()
                self.progress.start()
                self.begun = True
            for setting in settings:
                self._go_on(setting)
        for job in self.running.start():
            self._observe(job)
        return bool(self.running.jobs) and self.running.stopped is None

    def _count(self) -> None:
        self.progress.total = len(self.sweep.jobs) + self.method.to_come(len(self.planner.repetitions))

    def _wanted(self) -> int:
        """Return how many settings a search is asked for at once: where runs are trained as one, more than one.

        One that learns from what has ended gives as many as it draws at random in the beginning.
        """
        if (batch := self.options.get("batch")) is not None:
            return int(batch)
        startup = (self.options.get("sampler") or {}).get("startup", 1)
        return max(self.running.free, self.populations.asked_at_once(self.example, int(startup)))

    def _say_others(self) -> None:
        """Say which runs of an earlier start are not among those that this command asks for."""
        others = [job for job in self.sweep.jobs if job.number not in self.planner.asked]
        if others and self.options["method"] != "optuna":  # which asks for one after the other
            left = sum(job.status not in FINISHED for job in others)
            count = f"{len(others)} of this sweep's {len(self.sweep.jobs)} runs"
            go = "goes" if left == 1 else "go"
            if self.planner.asked:
                print(f"not asked for by this command: {count}, of which {left} {go} on", flush=True)
            else:
                print(f"{left} of {len(others)} runs {go} on", flush=True)

    def plan_only(self) -> bool:
        """Say what `sweep.plan=true` asks: which runs would be trained as one. Return whether all can run."""
        proposed = self.method.propose(self._wanted())
        jobs = {
            job.number: job for proposal in proposed for job in self.planner.plan(proposal)
        }  # a search repeats some
        lines, well = self.populations.lines(list(jobs.values()))
        for line in lines:
            print(line)
        return well

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
                setting.jobs.remove(job)
                if job in self.sweep.jobs:  # a search may propose one setting twice
                    self.planner.forget(job)
            setting.due = []
        handed = setting.due[:1] if self.method.prunes and first in setting.due else setting.due
        setting.due = setting.due[len(handed) :]
        for job in handed:
            self.running.add(job)
            setting.pending.add(job.number)
            self.waiting_for.setdefault(job.number, []).append(setting)
        if not handed:
            try:
                self.method.report(setting.proposal, setting.jobs)
            except ConfigError as error:  # what is searched for is not there: the sweep ends, and shows what it has
                self.wrong = self.wrong or error
                self.running.stopped = self.running.stopped or signal.SIGTERM
                self.running.stop(signal.SIGTERM)

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
        over = all(job.ended for job in sweep.jobs) and not sweep.cut and not self.method.to_come(1)
        if over and self.failed is None:  # a signal that comes when there is nothing left changes nothing
            stopped = None
        sweep.finished = stopped is None and all(job.ended for job in sweep.jobs)
        sweep.save()
        board = write_leaderboard(sweep)
        print_leaderboard(board)
        if repeats := self.planner.repeats:
            print(f"{repeats} not repeated: this sweep has their records (sweep.rerun=true repeats them)")
        if twice := self.planner.twice:
            print(f"{twice} asked for more than once: each was run once")
        for line in self.running.told:
            print(line)
        self.method.say(board)
        print(f"folder: {sweep.folder}\nHParams and curves: {tensorboard_command(sweep.folder)}", flush=True)
        # the figures' libraries are imported in the process that the runs were forked from
        from gradloop.sweeps.results.picture import draw_sweep  # with it comes numpy

        with Waiting("drawing"):
            try:
                elsewhere(draw_sweep, board) if isinstance(self.running.engine, Processes) else draw_sweep(board)
            except Exception as error:  # the sweep has its results
                print(f"warning: not all pictures were drawn: {said(error)}", file=sys.stderr)
        if (page := sweep.folder / PAGE).is_file():
            print(f"page: {page}", flush=True)
        if self.wrong is not None:
            raise self.wrong
        if stopped is not None:
            told = f"stopped by {signal.Signals(stopped).name}"
            told += "; its jobs go on in the cluster" if self.running.left else ""
            if (job := self.failed) is not None:
                told = f"stopped at the first failure: run {job.number} {job.status}: {job.reason}"
            print(f"{told}; to go on: {sweep.command} {typed('sweep.resume', sweep.folder)}", file=sys.stderr)
        well = all(job.status in ENDED_WELL for job in sweep.jobs)
        return Ended(board, 128 + stopped if stopped is not None and self.failed is None else int(not well))
