"""Which runs of a sweep are trained as one: those that differ in numbers that a stack of models can hold."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradloop.config.overrides import quoted
from gradloop.config.rules import is_whole
from gradloop.config.signature import stack_key
from gradloop.errors import GradloopError, said
from gradloop.sweeps.composing import Composer
from gradloop.sweeps.engines import Engine, JobSpec
from gradloop.sweeps.engines.processes import elsewhere
from gradloop.sweeps.methods import Method
from gradloop.sweeps.sweep_folder import Job

MOST = 256  # runs in one population
PROGRAM = {
    False: "gradloop.training.population.as_one.run_population",
    True: "gradloop.training.population.as_one.run_exactly",
}


class Populations:
    """Takes the runs of an engine's next job from those that wait.

    option: `sweep.population`. method: which may judge every epoch of a run, or the time that it takes.
    """

    def __init__(
        self, option: Any, composer: Composer, engine: Engine, method: Method, launcher: str, place: Path
    ) -> None:
        self.place = place  # of the sweep
        self.composer, self.engine, self.method = composer, engine, method
        # elsewhere the runs of a population would share what each of them has to itself: it has to be asked for
        self.on = option not in ("off", False, 1) and (launcher == "processes" or option != "auto")
        self.off = f"sweep.population={option}" + f" with hydra/launcher={launcher}" * (option == "auto")
        self.exact, self.auto = option in ("exact", "auto"), option == "auto"  # auto is never less than exact
        self.most = option if is_whole(option, 1) else MOST
        self.keys: dict[int, str] = {}  # a run's number -> what has to be equal in runs that are trained as one
        self.told: set[str] = set()  # why runs run alone: each reason once
        self.known: dict[str, tuple[str | None, int]] = {}  # of a key: why its runs run alone, and how many fit

    def bundle(self, waiting: deque[Job], running: int) -> list[Job]:
        """Take the first that waits, and those that can be trained with it. running: jobs that the engine has."""
        first = waiting[0]
        like = [job for job in waiting if self.on and self._key(job) == self._key(first)]
        if len(like) > 1:
            why, most = self._look(first)
            if why is None:
                free = max(1, self.engine.width - running)  # as many populations run side by side
                taken = like[: min(self.most, most, math.ceil(len(like) / free))]
                for job in taken:
                    waiting.remove(job)
                return taken
        return [waiting.popleft()]

    def spec(self, spec: JobSpec) -> JobSpec:
        """Return the job for one process that trains its runs as one, if it has several."""
        return replace(spec, program=PROGRAM[self.exact]) if len(spec.runs) > 1 else spec

    def asked_at_once(self, overrides: list[str], wanted: int) -> int:
        """Return how many settings a search asks for at once. overrides: of a run like those that it will have."""
        asked = self.on and not self.method.timed and wanted > 1
        return wanted if asked and self._ask(overrides)[0] is None else 1

    def lines(self, jobs: Sequence[Job]) -> tuple[list[str], bool]:
        """Say of each group of runs whether it is trained as one, and if not, why. And whether all can run."""
        groups: dict[str, list[Job]] = {}
        for job in jobs:
            groups.setdefault(self._key(job) if self.on else "", []).append(job)
        told, well = [], True
        for group in groups.values():
            why, most = (self.off, 1) if not self.on else self._look(group[0])
            numbers = ranges([job.number for job in group])
            if most == 0:
                told.append(f"{numbers}: would fail: {why}")
                well = False
                continue
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
        """Return why runs like this one run alone, if they do, and how many fit at once; 0: none can run."""
        key = self._key(job)
        if key not in self.known:
            if self.method.timed:
                self.known[key] = "an objective is a run's own duration", 1
            elif self.auto and self.method.looks_at(job):  # side by side, no run has ended before the others
                self.known[key] = "a pruner judges by runs that have ended (sweep.population=exact stacks them)", 1
            else:
                self.known[key] = self._ask(job.overrides)
            why, most = self.known[key]
            if why is not None and why not in self.told:
                self.told.add(why)
                print(f"runs like {job.number} {'run alone' if most else 'fail'}: {why}", flush=True)
        return self.known[key]

    def _ask(self, overrides: list[str]) -> tuple[str | None, int]:
        composer, place = self.composer, f"hydra.run.dir={quoted(str(self.place / 'tried'))}"
        try:
            return elsewhere(
                _why_alone, [*overrides, place], composer.config_dir, composer.config_name, composer.allow, self.exact
            )
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
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    words = ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts)
    return f"run{'s' if len(numbers) > 1 else ''} {words}"
