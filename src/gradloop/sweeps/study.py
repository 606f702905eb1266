"""Optuna, asked and told: the next settings, and what became of them.

The study lives in SQLite in the sweep's folder, or wherever `sweep.storage` says (any RDB URL), under the
sweep's name or `sweep.study`. `optuna-dashboard <storage>` shows it; several sweeps may share it.
"""

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from gradloop.errors import ConfigError
from gradloop.seeds import stream_seed
from gradloop.sweeps.search_space import Choice, Interval, Point, Space, Value, number_value

STUDY = "study.db"  # in the sweep's folder


class Study:
    """A study as a sweep sees it.

    options: the `sweep` group: sampler, pruner, storage, study. directions: "minimize" | "maximize", one an
    objective. epochs: how long a run is at most, if all are equally long. begun: the sweep has trials in it already.
    Errors of the storage become ConfigError.
    """

    def __init__(
        self,
        folder: Path,
        options: dict[str, Any],
        directions: list[str],
        *,
        name: str,
        epochs: int | None,
        begun: bool = False,
    ) -> None:
        try:
            import optuna
        except ImportError:
            raise ConfigError(f"sweep={options['method']} needs Optuna: pip install 'gradloop[optuna]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna: Any = optuna
        self.name = options.get("study") or name
        self.url = options.get("storage") or f"sqlite:///{(folder / STUDY).absolute()}"
        if begun and (file := file_of(self.url)) is not None and not file.exists():
            told = f"no such file, and this sweep's trials are of study {self.name!r} in it"
            raise ConfigError(f"sweep.storage={self.url}: {told}; say where it lies now")
        try:
            self.alone = _alone(self.url)
            # SQLite waits for other writers instead of failing
            patient = {"connect_args": {"timeout": 60}} if isinstance(self.alone, FileLock) else {}
            with self.alone:
                self.storage = self.optuna.storages.RDBStorage(self.url, engine_kwargs=patient)
                if options.get("plan"):  # opens no trial there: nobody would end it
                    self.storage = self._copy()
        except Exception as error:  # of SQLAlchemy, of the database's driver, of Optuna
            raise ConfigError(f"sweep.storage={self.url}: {str(error).splitlines()[0]}") from error
        pruner = make_pruner(self.optuna, options, epochs)
        with self.alone:
            self.study = self.optuna.create_study(
                storage=self.storage, study_name=self.name, directions=directions, pruner=pruner, load_if_exists=True
            )
        had = [direction.name.lower() for direction in self.study.directions]
        if had != directions:
            raise ConfigError(f"sweep.directions: study {self.name!r} was begun with {had}, not {directions}")
        self.sampler = options.get("sampler") or {}
        self.own = options.get("storage") is None  # nobody else asks this study
        self.trials: dict[int, Any] = {}  # those whose runs report as they go

    def _copy(self) -> Any:
        """Return the study so far, in memory."""
        copy = self.optuna.storages.InMemoryStorage()
        with contextlib.suppress(KeyError):  # it has not begun
            self.optuna.copy_study(from_study_name=self.name, from_storage=self.storage, to_storage=copy)
        return copy

    def ask(self, space: Space, known: Collection[int]) -> tuple[int, Point]:
        """A trial's number, and the setting to try: a new one, or one that was asked for and never begun.

        known: the trials that have jobs. What a new one draws depends on the seed and on the trials before it alone,
        not on how often the sweep was stopped; of two sweeps that ask at once, the second sees the first one's.
        """
        with self.alone:
            return self._ask(space, known)

    def _ask(self, space: Space, known: Collection[int]) -> tuple[int, Point]:
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


def _alone(url: str) -> Any:
    """Two processes that create one SQLite study at once trip over each other's tables, and that ask it, draw the
    same: one at a time."""
    if (file := file_of(url)) is None:  # another database
        return contextlib.nullcontext()
    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{file}.lock", timeout=60)


def file_of(url: str) -> Path | None:
    """Return the file of an SQLite database; None for another's URL."""
    scheme, _, path = url.partition("?")[0].partition(":///")
    return Path(path) if scheme.startswith("sqlite") and path and not path.startswith(("file:", ":memory:")) else None


def absolute(url: str) -> str:
    """Return a database's URL as it is found from any folder."""
    scheme, _, path = url.partition(":///")
    return url if file_of(url) is None else f"{scheme}:///{Path(path).absolute()}"


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
            low, step = (float(f"{x:.12g}") for x in (numbers[0], domain.step))
            high = float(f"{low + step * (len(numbers) - 1):.12g}")  # as added up, 0.3 + 0.3 + 0.3 is below 0.9
            number: Any = int if kind is known.IntDistribution else float
            found[key] = kind(number(low), number(high), step=number(step))
        else:
            # texts, for a choice may hold lists; TPE takes them as unordered either way
            found[key] = known.CategoricalDistribution([value.text for value in domain.values])
    return found


def value_of(domain: Choice | Interval, parameter: Any) -> Value:
    """The value behind Optuna's parameter."""
    if isinstance(domain, Interval):
        return number_value(parameter)
    if domain.step:
        return min(domain.values, key=lambda value: abs(value.data - parameter))
    return next(value for value in domain.values if value.text == parameter)
