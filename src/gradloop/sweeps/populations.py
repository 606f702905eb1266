"""Which runs of a sweep are trained as one: those that differ in numbers that a stack of models can hold."""

import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from gradloop.config.overrides import quoted
from gradloop.config.rules import is_whole
from gradloop.config.signature import STACKED, is_below, stack_key
from gradloop.errors import GradloopError, said
from gradloop.sweeps.engines import Engine, JobSpec
from gradloop.sweeps.engines.server import elsewhere
from gradloop.sweeps.methods import Method
from gradloop.sweeps.planner import Planner
from gradloop.sweeps.search_space import plain_key
from gradloop.sweeps.sweep_folder import Job

TRIES = 3  # of runs of one kind that can't run
MOST = 256  # runs in one population
PROGRAM = {
    False: "gradloop.training.population.as_one.run_population",
    True: "gradloop.training.population.as_one.run_exactly",
}


class Populations:
    """Takes the runs of an engine's next job from those that wait.

    option: `sweep.population`. method: which may judge every epoch of a run, or the time that it takes.
    stopped: whether a signal has ended the sweep.
    """

    def __init__(
        self, option: Any, planner: Planner, engine: Engine, method: Method, stopped: Callable[[], bool] = bool
    ) -> None:
        self.planner, self.engine, self.method, self.stopped = planner, engine, method, stopped
        self.composer = planner.composer
        # elsewhere the runs of a population would share what each of them has to itself: it has to be asked for
        self.on = option not in ("off", False, 1) and (planner.launcher == "processes" or option != "auto")
        self.off = f"sweep.population={option}" + f" with hydra/launcher={planner.launcher}" * (option == "auto")
        self.exact, self.auto = option in ("exact", "auto"), option == "auto"  # auto is never less than exact
        self.most = option if is_whole(option, 1) else MOST
        self.keys: dict[int, str] = {}  # a run's number -> what has to be equal in runs that are trained as one
        self.told: set[str] = set()  # why runs run alone: each reason once
        self.tried: dict[tuple[str, ...], tuple[str | None, int]] = {}  # by a run's overrides
        self.known: dict[str, tuple[str | None, int]] = {}  # of a key: why its runs run alone, and how many fit
        self.failed: Counter[str] = Counter()  # of a key: how many of its runs were tried and can't run

    def bundle(self, waiting: deque[Job], running: int) -> list[Job]:
        """Take the first that waits, and those that can be trained with it. running: jobs that the engine has."""
        first = waiting[0]
        like = [job for job in waiting if self.on and self._key(job) == self._key(first)]
        if len(like) > 1:
            if self._key(first) not in self.known:
                for job in like:  # while the process is begun that tells what stacks
                    self.planner.config(job)
            why, most = self._look(first)
            if why is None:
                free = max(1, self.engine.width - running)  # as many populations run side by side
                taken = like[: min(self.most, most, math.ceil(len(like) / free))]
                for job in taken:
                    waiting.remove(job)
                return taken
        return [waiting.popleft()]

    def spec(self, jobs: Sequence[Job]) -> JobSpec:
        """Return what the engine is told of the runs of one of its jobs: several, one process trains as one."""
        spec = self.planner.spec(jobs, self.engine.cores, prunes=any(map(self.method.looks_at, jobs)))
        return replace(spec, program=PROGRAM[self.exact]) if len(spec.runs) > 1 else spec

    def asked_at_once(self, overrides: list[str], wanted: int) -> int:
        """Return how many settings a search asks for at once. overrides: of a run like those that it will have."""
        asked = self.on and not self.method.timed and not (self.auto and self.method.prunes) and wanted > 1
        asked = asked and all(is_below(plain_key(key), STACKED) for key in self.method.searched)
        return wanted if asked and self._ask(overrides)[0] is None else 1

    def lines(self, jobs: Sequence[Job]) -> tuple[list[str], bool]:
        """Say of each group of runs whether it is trained as one, and if not, why. And whether all can run."""
        groups: dict[str, list[Job]] = {}
        for job in jobs:
            groups.setdefault(self._key(job) if self.on else "", []).append(job)
        told, well = [], True
        for group in groups.values():
            why, most = (None if self.on else self.off), 1
            while self.on and group:
                why, most = self._look(group[0])
                if most > 0:
                    break
                failing = group if self._key(group[0]) in self.known else group[:1]
                told.append(f"{ranges([job.number for job in failing])}: would fail: {why}")
                well, group = False, group[len(failing) :]
            if not group:
                continue
            numbers = ranges([job.number for job in group])
            if len(group) == 1 and self.on:
                why = "no other run is like it"
            size = min(self.most, most, math.ceil(len(group) / self.engine.width))
            together = f"as one, {size} at once" if size < len(group) else "as one"
            told.append(f"{numbers}: {together if why is None else f'alone: {why}'}")
        return told, well

    def _key(self, job: Job) -> str:
        if job.number not in self.keys:
            values = self.composer.values(job.overrides)
            self.keys[job.number] = f"{stack_key(values)} {self.method.looks_at(job)}"
        return self.keys[job.number]

    def _look(self, job: Job) -> tuple[str | None, int]:
        """Return why runs like this one run alone, if they do, and how many fit at once; 0: this one can't run.

        That may be its own mistake: only after several of a kind it is taken for all of that.
        """
        key = self._key(job)
        if key in self.known:
            return self.known[key]
        found: tuple[str | None, int]
        if self.method.timed:
            found = "an objective is a run's own duration", 1
        elif self.auto and self.method.looks_at(job):  # side by side, no run has ended before the others
            found = "a pruner judges by runs that have ended (sweep.population=exact stacks them)", 1
        else:
            found = self._ask(job.overrides)
        why, most = found
        self.failed[key] += most == 0
        if most > 0 or self.failed[key] == TRIES:
            self.known[key] = found
        if why is not None and why not in self.told and not self.stopped():
            self.told.add(why)
            print(f"run{'s like' * (most > 0)} {job.number} {'run alone' if most else 'fails'}: {why}", flush=True)
        return found

    def _ask(self, overrides: list[str]) -> tuple[str | None, int]:
        """Try it once: a run's data may take minutes to load."""
        if (asked := tuple(overrides)) not in self.tried:
            self.tried[asked] = self._try(overrides)
        return self.tried[asked]

    def _try(self, overrides: list[str]) -> tuple[str | None, int]:
        composer, place = self.composer, f"hydra.run.dir={quoted(str(self.planner.sweep.folder / 'tried'))}"
        try:
            asked = [*overrides, place], composer.config_dir, composer.config_name, composer.allow, self.exact
            return elsewhere(_why_alone, *asked, given_up=self.stopped)
        except GradloopError as error:  # the run itself will say so
            return str(error).splitlines()[0], 0
        except EOFError:  # the process is gone: there was no memory for it, say
            return "it can't be tried", 1
        except Exception as error:  # own code raises what it likes, and not for every seed
            return f"it can't be tried: {said(error)}", 1


def _why_alone(
    overrides: list[str], config_dir: str | None, config_name: str, allow: tuple[str, ...], exact: bool
) -> tuple[str | None, int]:
    from gradloop.runs.planning import plan
    from gradloop.training.population.as_one import fits

    return fits(replace(plan(overrides, config_dir, config_name, of_sweep=True), allow=allow), exact=exact)


def ranges(numbers: Sequence[int]) -> str:
    """`[0, 1, 2, 5]` -> "runs 0 to 2, 5"."""
    # numbers that follow each other are as far from their places
    groups = groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])
    parts = [[number for _, number in group] for _, group in groups]
    words = ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts)
    return f"run{'s' if len(numbers) > 1 else ''} {words}"
