"""Optuna, asked and told: the next settings, and what became of them.

The study lives in SQLite in the sweep's folder, or wherever `sweep.storage` says (any RDB URL), under the
sweep's name or `sweep.study`. `optuna-dashboard <storage>` shows it; several sweeps may share it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from gradloop.errors import ConfigError
from gradloop.seeds import stream_seed
from gradloop.sweeps.search_space import Choice, Interval, Point, Space, Value, number_value


class Study:
    """A study as a sweep sees it.

    options: the `sweep` group: sampler, pruner, storage, study. directions: "minimize" | "maximize", one an
    objective. epochs: how long a run is at most, if all are equally long. Errors of the storage become ConfigError.
    """

    def __init__(
        self, folder: Path, options: dict[str, Any], directions: list[str], *, name: str, epochs: int | None
    ) -> None:
        try:
            import optuna
        except ImportError:
            raise ConfigError(f"sweep={options['method']} needs Optuna: pip install 'gradloop[optuna]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna: Any = optuna
        self.name = options.get("study") or name
        self.url = options.get("storage") or f"sqlite:///{(folder / 'study.db').absolute()}"
        self.storage = open_storage(self.optuna, self.url)
        self.pruner = make_pruner(self.optuna, options, epochs)
        with _alone(self.url):
            self.study = self.optuna.create_study(
                storage=self.storage,
                study_name=self.name,
                directions=directions,
                pruner=self.pruner,
                load_if_exists=True,
            )
        had = [direction.name.lower() for direction in self.study.directions]
        if had != directions:
            raise ConfigError(f"sweep.directions: study {self.name!r} was begun with {had}, not {directions}")
        self.sampler = options.get("sampler") or {}
        self.own = options.get("storage") is None  # nobody else asks this study
        self.trials: dict[int, Any] = {}  # those whose runs report as they go

    def ask(self, space: Space, known: Collection[int]) -> tuple[int, Point]:
        """A trial's number, and the setting to try: a new one, or one that was asked for and never begun.

        known: the trials that have jobs. What a new one draws depends on the seed and on the trials before it alone,
        not on how often the sweep was stopped.
        """
        trials = self.study.get_trials(deepcopy=False)
        among = distributions(self.optuna, space)
        open_ones = [t for t in trials if t.number not in known and not t.state.is_finished()] if self.own else []
        waiting = [t for t in open_ones if t.distributions == among]  # the space may be another one now
        if waiting:
            trial = waiting[0]
        else:
            seed = self.sampler.get("seed")
            self.study.sampler = self.optuna.samplers.TPESampler(
                seed=None if seed is None else stream_seed(seed, "trial", len(trials)) % 2**32,
                n_startup_trials=self.sampler.get("startup", 10),
                multivariate=bool(self.sampler.get("multivariate")),
                constant_liar=True,  # several trials at once: keep away from those still running
            )
            self._check_space(trials, among)
            trial = self.study.ask(among)
        return trial.number, {key: value_of(space[key], trial.params[key]) for key in space}

    def _check_space(self, trials: Sequence[Any], among: dict[str, Any]) -> None:
        """Refuse values that can't stand beside those of earlier trials, before the study opens one for them."""
        for key, now in among.items():
            for then in {trial.distributions[key] for trial in trials if key in trial.distributions}:
                try:
                    self.optuna.distributions.check_distribution_compatibility(then, now)
                except ValueError as error:
                    what = f"study {self.name!r} was begun with other values ({error})"
                    raise ConfigError(f"{key}: {what}; start a new sweep, or study") from error

    def given_up(self, number: int, epoch: int, value: float) -> bool:
        """Report how an epoch of a trial's run went; return whether the pruner would end it there."""
        if number not in self.trials:
            study_id = self.storage.get_study_id_from_name(self.name)
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
            self.trials[number] = self.optuna.trial.Trial(self.study, trial_id)
        trial = self.trials[number]
        known = self.study.get_trials(deepcopy=False)[number].intermediate_values
        if epoch not in known:
            trial.report(value, epoch)
        elif epoch < max(known):  # a run that goes on repeats epochs, after which it was told to go on
            return False
        return bool(trial.should_prune())

    def tell(self, number: int, values: list[float] | None, state: str) -> None:
        """state: "complete", "pruned" or "fail". A trial that has been told already stays as it is."""
        self.trials.pop(number, None)
        self.study.tell(number, values, state=self.optuna.trial.TrialState[state.upper()], skip_if_finished=True)

    def ended(self) -> set[int]:
        """Return the trials that have ended, if this sweep alone asks the study."""
        trials = self.study.get_trials(deepcopy=False) if self.own else []
        return {trial.number for trial in trials if trial.state.is_finished()}

    def is_open(self, number: int) -> bool:
        trials = self.study.get_trials(deepcopy=False)
        return number < len(trials) and not trials[number].state.is_finished()


def make_pruner(optuna: Any, options: dict[str, Any], epochs: int | None) -> Any:
    """The pruner that `sweep.pruner` names."""
    kind = options.get("pruner")
    startup, warmup = options.get("startup_trials", 5), options.get("warmup_epochs", 0)
    if not kind:
        return optuna.pruners.NopPruner()
    if kind == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
    first, factor = max(1, warmup), options["reduction_factor"]
    if kind == "hyperband":
        return optuna.pruners.HyperbandPruner(first, epochs or "auto", reduction_factor=factor)
    return optuna.pruners.SuccessiveHalvingPruner(first, reduction_factor=factor)  # asha


def open_storage(optuna: Any, url: str) -> Any:
    """Open a storage by its URL; in SQLite, wait for other writers instead of failing."""
    try:
        lock = _alone(url)
        engine = {"connect_args": {"timeout": 60}} if isinstance(lock, FileLock) else {}
        with lock:
            return optuna.storages.RDBStorage(url, engine_kwargs=engine)
    except Exception as error:  # of SQLAlchemy, of the database's driver, of Optuna
        raise ConfigError(f"sweep.storage={url}: {str(error).splitlines()[0]}") from error


def _alone(url: str) -> Any:
    """Two processes that create one SQLite study at once trip over each other's tables: one at a time."""
    scheme, _, path = url.partition(":///")
    if not (scheme.startswith("sqlite") and path):  # another database
        return contextlib.nullcontext()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{path}.lock", timeout=60)


def distributions(optuna: Any, space: Space) -> dict[str, Any]:
    """Optuna's form of the search space."""
    known = optuna.distributions
    found = {}
    for key, domain in space.items():
        if isinstance(domain, Interval):
            kind, end = (known.IntDistribution, round) if domain.whole else (known.FloatDistribution, float)
            found[key] = kind(end(domain.low), end(domain.high), log=domain.log)
        elif domain.step:
            numbers = sorted(value.data for value in domain.values)
            kind = known.IntDistribution if all(isinstance(n, int) for n in numbers) else known.FloatDistribution
            step = int(domain.step) if kind is known.IntDistribution else domain.step
            found[key] = kind(numbers[0], numbers[-1], step=step)
        else:
            # texts, for a choice may hold lists; TPE takes them as unordered either way
            found[key] = known.CategoricalDistribution([value.text for value in domain.values])
    return found


def value_of(domain: Choice | Interval, parameter: Any) -> Value:
    """The value behind Optuna's parameter."""
    if isinstance(domain, Interval) or domain.step:
        return number_value(parameter)
    return next(value for value in domain.values if value.text == parameter)
