"""How settings are chosen: all of a grid, at random, or by Optuna."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from gradloop.config.overrides import typed
from gradloop.config.rules import is_whole
from gradloop.errors import CheckpointError, ConfigError, did_you_mean
from gradloop.runs.labels import mode_of
from gradloop.runs.record import COMPLETED, FINISHED, NOT_RUN, PRUNED
from gradloop.sweeps.engines.server import elsewhere
from gradloop.sweeps.results.leaderboard import Leaderboard
from gradloop.sweeps.results.statistics import spread
from gradloop.sweeps.search_space import Point, Space, draw, grid
from gradloop.sweeps.study import STUDY, Study
from gradloop.sweeps.sweep_folder import Job, Sweep

Values = dict[str, Any]


@dataclass(eq=False)
class Proposal:
    """A setting to run, or jobs of an earlier start that are to go on."""

    point: Point = field(default_factory=dict)
    trial: int | None = None
    jobs: list[Job] | None = None


class Method:
    """What a sweep asks for settings: those that it knows from the start; it learns nothing from how they go.

    prunes: it may end a run early. timed: it compares how long runs take. searched: the keys that it chooses for.
    """

    prunes, timed = False, False
    searched: Collection[str] = ()

    def __init__(self, proposals: list[Proposal]) -> None:
        self.proposals = proposals

    def propose(self, count: int) -> list[Proposal]:
        """The next settings, about `count` of them or all that are known; none: the sweep is over."""
        proposals, self.proposals = self.proposals, []
        return proposals

    def report(self, proposal: Proposal, jobs: list[Job]) -> None:
        """Take in how a proposal's jobs went."""

    def to_come(self, runs_each: int) -> int:
        """How many jobs more there will be than have been proposed, as far as is known."""
        return 0

    def looks_at(self, job: Job) -> bool:
        """Whether a job's run reports every epoch, and may be ended early."""
        return False

    def give_up(self, job: Job, epoch: int, value: float) -> str | None:
        """Take in an epoch of a job's run: the monitored metric. Return why it is to end there, if it is."""
        return None

    def say(self, board: Leaderboard) -> None:
        """Print what the method has to say at the end."""


def make_method(
    options: Values, space: Space, sweep: Sweep, first_values: Callable[[], Values], *, only_left: bool
) -> Method:
    """options: the `sweep` group. first_values: the config of some point, should it be needed.

    only_left: the command names nothing to run; what an earlier start has left unfinished goes on.
    """
    if options["method"] == "optuna":
        if not space:
            raise ConfigError(
                "sweep=optuna: nothing to vary; give values or intervals, as in optimizer.lr=interval(1e-4,1)"
            )
        return ByOptuna(options, space, sweep, first_values, only_left=only_left)
    points: list[Point] = []
    if not only_left:
        drawn = options["method"] == "random"
        points = draw(space, n_trials(options), int(options.get("sampler_seed") or 0)) if drawn else grid(space)
    left = [job for job in sweep.jobs if job.status not in FINISHED]
    return Method([*map(Proposal, points), *([Proposal(jobs=left)] if left else [])])


def n_trials(options: Mapping[str, Any]) -> int:
    count: Any = options.get("n_trials")
    if not is_whole(count, 1):
        raise ConfigError(f"sweep.n_trials={count}: expected 1 or more")
    return count


class ByOptuna(Method):
    """Settings that a study proposes from what it was told."""

    def __init__(
        self,
        options: Values,
        space: Space,
        sweep: Sweep,
        first_values: Callable[[], Values],
        *,
        only_left: bool,
    ) -> None:
        self.space, self.sweep, self.searched = space, sweep, space.keys()
        self.count = n_trials(options)
        self.prunes = bool(options.get("pruner"))
        self.objectives: list[str] | None = options.get("objectives")
        if self.prunes and self.objectives is not None and self.objectives != [first_values().get("monitor")]:
            aim = ", ".join(self.objectives)
            raise ConfigError(
                f"sweep.objectives=[{aim}]: sweep.pruner ends runs by what they monitor; add monitor={aim}, or leave "
                "sweep.objectives out"
            )
        if options.get("rerun"):
            raise ConfigError("sweep.rerun=true: a study is told of each trial once; start a new sweep")
        self.timed = any(str(objective).startswith("durations/") for objective in self.objectives or [])
        directions = options.get("directions")
        if self.objectives is None:
            directions = directions or [direction_of(first_values())]
        if not directions or len(directions) != len(self.objectives or [None]):
            raise ConfigError("sweep.directions: expected minimize or maximize for each of sweep.objectives")
        sweep.objectives = dict(zip(self.objectives or (), directions, strict=False))
        name, epochs = sweep.study or sweep.folder.name, None
        if self.prunes and "trainer.max_epochs" not in space:
            epochs = first_values()["trainer"]["max_epochs"]
        elsewhere_kept = sweep.storage and not sweep.storage.endswith(f"/{sweep.folder.name}/{STUDY}")
        own = (sweep.folder / STUDY).is_file()  # of a sweep that was moved, too
        if options.get("storage") is None and elsewhere_kept and not own:  # the folder may come from a stranger
            where = typed("sweep.storage", sweep.storage)
            raise CheckpointError(f"{sweep.folder}: its study lies outside of it; to go on with that, add {where}")
        begun = any(job.trial is not None for job in sweep.jobs)
        self.study = Study(sweep.folder, options, list(directions), name=name, epochs=epochs, begun=begun)
        sweep.study, sweep.storage = self.study.name, self.study.url
        trials: dict[int, list[Job]] = {}
        for job in sweep.jobs:
            if job.trial is not None:
                trials.setdefault(job.trial, []).append(job)
        self.known = set(trials) | self.study.ended()  # one that repeats a setting has no job of its own
        if only_left:  # the command asks for no setting
            self.count = len(self.known)
        again = [n for n, jobs in trials.items() if self.study.is_open(n) or NOT_RUN in {job.status for job in jobs}]
        super().__init__([Proposal(trial=n, jobs=trials[n]) for n in again])

    def propose(self, count: int) -> list[Proposal]:
        if proposals := super().propose(count):
            return proposals
        for _ in range(min(count, self.count - len(self.known))):
            trial, point = self.study.ask(self.space, self.known)
            self.known.add(trial)
            proposals.append(Proposal(point, trial))
        return proposals

    def report(self, proposal: Proposal, jobs: list[Job]) -> None:
        assert proposal.trial is not None
        states = {job.status for job in jobs}
        metrics = self.objectives or [self.sweep.metric or ""]
        values = [spread(job.value(metric) for job in jobs) for metric in metrics]
        known = [*jobs[0].record.get("metrics", {}), *(f"durations/{n}" for n in jobs[0].record.get("durations", {}))]
        if self.objectives and states == {COMPLETED} and (unknown := [m for m in metrics if m not in known]):
            near = did_you_mean(unknown[0], known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"sweep.objectives: no run has {unknown[0]}{near}")
        if PRUNED in states:
            self.study.tell(proposal.trial, None, "pruned")
        elif states == {COMPLETED} and all(value.n == len(jobs) for value in values):
            self.study.tell(proposal.trial, [value.mean or 0.0 for value in values], "complete")
        else:
            self.study.tell(proposal.trial, None, "fail")

    def to_come(self, runs_each: int) -> int:
        return max(0, self.count - len(self.known)) * runs_each

    def looks_at(self, job: Job) -> bool:
        """With several seeds, a setting's first decides."""
        if not self.prunes or job.trial is None:
            return False
        return job.number == min(other.number for other in self.sweep.jobs if other.trial == job.trial)

    def give_up(self, job: Job, epoch: int, value: float) -> str | None:
        assert job.trial is not None
        if not self.study.given_up(job.trial, epoch, value):
            return None
        return f"pruned after epoch {epoch + 1}: {self.sweep.metric or 'the monitored metric'} {value:.4g}"

    def say(self, board: Leaderboard) -> None:
        print(f"study: {self.study.name} in {self.study.url} (optuna-dashboard {self.study.url})")
        if self.objectives and len(self.objectives) > 1:
            numbers = {trial.number for trial in self.study.study.best_trials}
            front = [str(job.number) for job in self.sweep.jobs if job.trial in numbers]
            if front:
                print(f"none is better in every objective than run{'s' * (len(front) > 1)} {', '.join(front)}")


def direction_of(values: Values) -> str:
    """Whether the monitored metric is to rise or to fall: by the config, else as a run decides it."""
    return {"max": "maximize", "min": "minimize"}[values.get("monitor_mode") or elsewhere(_mode_of_a_run, values)]


def _mode_of_a_run(values: Values) -> str:
    from gradloop.config.own_module import target_of
    from gradloop.training.build import Builder, facts_of
    from gradloop.training.optimizing import direction
    from gradloop.training.own_metrics import metrics_of
    from gradloop.training.task import task_of

    if target_of(values) is not None:
        return mode_of(values["monitor"] or "loss")
    build = Builder(tuple(values.get("allow") or ()))
    facts = facts_of(build.data(values["data"], values["seed"]))
    task = task_of(facts)
    return direction(values, task, metrics_of(build, values.get("metrics") or {}, facts, task))
