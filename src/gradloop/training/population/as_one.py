"""Runs of a sweep that one process trains: as one stack where that is possible, else one after another."""

import contextlib
import time
from dataclasses import replace

from gradloop.config.signature import stack_key
from gradloop.errors import GradloopError, RunInterrupted
from gradloop.runs.planning import Config
from gradloop.runs.record import NOT_RUN, RUNNING, Record, read_record
from gradloop.runs.run import Run
from gradloop.runs.signals import NAMES, Listening, take_note
from gradloop.training.fit import run
from gradloop.training.loop.position import place_of
from gradloop.training.population.members import OtherSizesError
from gradloop.training.population.population import Population
from gradloop.training.population.stacked import StackError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

FILES = 64  # that a process has open besides its runs
MEMORY = 2**30  # bytes that the weights of a stack may take, with all that an optimizer has of them


def run_population(*configs: Config, exact: bool = False) -> None:
    """Train runs as one stack where that is possible, else one after another.

    Runs that differ in more than a stack can hold, or stand at other places, form stacks of their own. exact: run
    alone what a stack would round otherwise. Whatever becomes of a run is in its record: no run's error is raised.
    """
    groups: dict[str, list[Config]] = {}
    for each in configs:
        place = place_of(each.checkpoint) if each.checkpoint else {}
        groups.setdefault(f"{stack_key(each.values)} {place}", []).append(each)
    with Listening(take_note) as stop:
        waiting = list(groups.values())
        while waiting:
            group, why = waiting.pop(0), Record()
            population: Population | None = None
            try:
                population = Population(group, exact=exact)
            except OtherSizesError as error:
                waiting[:0] = error.groups
                continue
            except GradloopError as error:
                print(f"alone: {error}", flush=True)
                why = Record(alone=str(error))
            if population is not None:
                population.run(stop)
                continue
            for each in group:  # not above: the error holds what has been built
                if stop.received is None:
                    _alone(replace(each, known={**each.known, **why}))
    if stop.received is not None:  # those that were not begun are interrupted, not done
        how = f"stopped by {NAMES[stop.received]}"
        raise RunInterrupted(how, signal_number=stop.received)


def run_exactly(*configs: Config) -> None:
    """Train as one what a stack trains to the bit, else alone."""
    run_population(*configs, exact=True)


def fits(config: Config, *, exact: bool) -> tuple[str | None, int]:
    """Say in one line why runs like this one run alone; None if they can be stacked, and how many at once."""
    try:
        population = Population([config, config], exact=exact)
    except StackError as error:
        return str(error), 1
    weights = sum(weight.numel() for weight in population.module.parameters())
    most = MEMORY // (weights * 4 * 4)  # float32: weights, gradients, two moments
    if resource is not None:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY:  # each run has a lock and a log file
            most = min(most, (files - FILES) // 2)
    return None, max(1, most)


def _alone(config: Config) -> None:
    """Run; where it was refused before it had a record, write one."""
    try:
        run(config, config.place)
    except Exception as error:
        folder = config.folder()
        if read_record(folder)["status"] in (RUNNING, NOT_RUN):
            with contextlib.suppress(Exception), Run(folder, config.values, config.overrides, started=time.time()):
                raise error
