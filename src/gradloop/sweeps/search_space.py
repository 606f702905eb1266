"""What is varied: Hydra's sweep grammar (`1,2,3`, `choice`, `range`, `glob`, `interval`) as search spaces."""

import itertools
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from gradloop.config.check import plain
from gradloop.config.conf_folder import choices_of
from gradloop.config.limits import rule_of
from gradloop.config.overrides import parse_overrides
from gradloop.config.own_module import target_of
from gradloop.config.signature import flatten
from gradloop.errors import ConfigError
from gradloop.sweeps.sweep_folder import as_text

PREFIX = "sweep.search_space."
# how a sweep goes about its work is no part of its jobs' configs
OWN_KEYS = ("sweep", "seeds")
NOT_VARIED = (*OWN_KEYS, "folds", "output_dir", "resume")
USUAL_RATES = "tag(log, interval(1e-4, 1e-1))"  # in conf/sweep/optuna.yaml and random.yaml


@dataclass(frozen=True)
class Value:
    """One value of a key: as data, and as the text that Hydra reads."""

    data: Any
    text: str


@dataclass(frozen=True)
class Choice:
    """Listed values: `1,2,3`, `choice(adam,sgd)`, `range(5)`, `glob(*)`."""

    values: tuple[Value, ...]
    step: float | None = None  # between the values of a `range`, in whatever order they are given

    def draw(self, generator: random.Random) -> Value:
        return generator.choice(self.values)


@dataclass(frozen=True)
class Interval:
    """Every number between two: `interval(0, 1)`, by factors with `tag(log, interval(1e-4, 1e-1))`.

    Whole numbers between two where the config holds one (`model.width`), or with `int(interval(16, 256))`.
    """

    low: float
    high: float
    log: bool
    whole: bool

    def draw(self, generator: random.Random) -> Value:
        if self.log:
            number = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
            number = min(max(number, self.low), self.high)
        else:
            number = generator.uniform(self.low, self.high)
        if self.whole:
            number = round(number) if self.log else generator.randint(round(self.low), round(self.high))
        return number_value(number)


Domain = Choice | Interval
Space = dict[str, Domain]  # Hydra's key, with its prefix (`+new.key`), -> what it may be
Point = dict[str, Value]


def number_value(number: float) -> Value:
    return Value(number, repr(number))


def plain_key(key: str) -> str:
    """`+model.width` -> `model.width`"""
    return key.lstrip("+")


def read_space(
    arguments: Iterable[str], given: Mapping[str, str], config: Any = None, config_dir: str | None = None
) -> tuple[list[str], Space]:
    """Split a sweep's overrides into those every job gets and the search space.

    given: search space from YAML, `{"optimizer.lr": "tag(log, interval(1e-4, 1e-1))"}`. The command line adds
    to it and replaces the same key; a single value there takes the key out.
    config: the composed config, whose values say which keys hold whole numbers.
    """
    space: Space = {}
    for key, text in given.items():
        # a job would take it for the command line's own word
        if plain_key(key) == "allow" or plain_key(key).startswith("hydra") or key.endswith("_target_"):
            raise ConfigError(f"sweep.search_space.{key}={text}: refused, only the command line names what is called")
        try:
            (override,) = parse_overrides([f"{key}={text}"])
        except ConfigError as error:
            raise ConfigError(f"sweep.search_space.{error}") from None
        space[key] = domain(key, override, config, config_dir)
    fixed = []
    for override in parse_overrides(list(arguments)):
        key = override.get_key_element()
        if plain_key(key).startswith(PREFIX) and override.is_sweep_override():
            key = plain_key(key)[len(PREFIX) :]
        elif key.lstrip("+~").split(".")[0] in OWN_KEYS or override.is_hydra_override():
            continue
        if override.is_sweep_override():
            for other in [other for other in space if plain_key(other) == plain_key(key)]:
                del space[other]
            space[key] = domain(key, override, config, config_dir)
        else:
            fixed.append(override.input_line or "")
            space = {other: kept for other, kept in space.items() if plain_key(other) != plain_key(key)}
    return fixed, space


def domain(key: str, override: Any, config: Any = None, config_dir: str | None = None) -> Domain:
    """The search domain of one parsed override; raise ConfigError for one that holds nothing."""
    override = listed(override)
    if not override.is_sweep_override():
        return Choice((Value(override.value(), override.get_value_element_as_str()),))
    if override.is_interval_sweep():
        sweep = override.value()
        low, high, log = sweep.start, sweep.end, "log" in sweep.tags
        if not low < high:
            raise ConfigError(f"{key}={override.get_value_string()}: expected a lower bound below the upper one")
        if log and low <= 0:
            raise ConfigError(f"{key}={override.get_value_string()}: a log scale needs a lower bound above 0")
        whole = float(low).is_integer() and float(high).is_integer() and _is_whole(config, plain_key(key))
        whole = whole or (isinstance(low, int) and isinstance(high, int))
        return Interval(float(low), float(high), log, whole)
    found = texts(override, config_dir)
    # as the command line's grammar reads them, without quotes
    values = tuple(Value(parse_overrides([f"value={text}"])[0].value(), text) for text in found)
    if not values:
        raise ConfigError(f"{key}={override.get_value_string()}: no value fits")
    return Choice(values, abs(float(override.value().step)) if override.is_range_sweep() else None)


def listed(override: Any) -> Any:
    """A list in YAML is a choice: `optimizer.lr: [0.1, 0.01]`."""
    if override.is_sweep_override() or not isinstance(override.value(), list) or not override.value():
        return override
    (choice,) = parse_overrides([f"{override.get_key_element()}=choice({override.get_value_element_as_str()[1:-1]})"])
    return choice


def texts(override: Any, config_dir: str | None) -> list[str]:
    """The listed values of a sweep, as Hydra reads them; those of a `glob` are a group's choices."""
    value = override.value()
    if not isinstance(value, Glob):
        shuffled = bool(getattr(value, "shuffle", False))
        try:
            found = list(override.sweep_string_iterator())
            if shuffled:  # by a seed of its own: the same command asks for the same runs
                random.Random(0).shuffle(found := sorted(found))
            return found
        except HydraException as error:
            raise ConfigError(f"{override.input_line}: {str(error).splitlines()[0]}") from None
    options = choices_of(override.key_or_group, config_dir)
    matching = value.filter(options)
    if not matching:
        no_group = f"{override.key_or_group} is no group of choices"
        told = f"matches none of {', '.join(options)}" if options else no_group
        raise ConfigError(f"{override.input_line}: {told}")
    return matching


def given_space(config: DictConfig) -> dict[str, str]:
    """Return the search space that files or `sweep.search_space={…}` give, `{"optimizer.lr": "1e-3,1e-2"}`."""
    options: Any = OmegaConf.to_container(config.sweep, resolve=True)
    space = {key: value for key, value in flatten(options["search_space"]).items() if value not in (None, {})}
    given = {key: value if isinstance(value, str) else as_text(value) for key, value in space.items()}
    for key, text in given.items():
        if plain_key(key).split(".")[0] in NOT_VARIED:
            raise ConfigError(f"sweep.search_space.{key}={text}: belongs to the sweep and can't be varied")
    if given.get("optimizer.lr") == USUAL_RATES and not _rate_counts(config):
        del given["optimizer.lr"]
    return {**((config.hydra.get("sweeper") or {}).get("params") or {}), **given}


def _rate_counts(config: DictConfig) -> bool:
    """Whether `optimizer.lr` matters: not beside an own module's optimizer, a finder, or a schedule's own rate."""
    values = plain(config)
    if target_of(values) is not None and "${optimizer" not in OmegaConf.to_yaml(config.module):
        return False
    targets = [str(entry.get("_target_")) for entry in (values.get("callbacks") or {}).values() if entry]
    if any(target.startswith("gradloop.callbacks.lr_finder.") for target in targets):
        return False
    return (values.get("scheduler") or {}).get("max_lr") in (None, (values.get("optimizer") or {}).get("lr"))


def _is_whole(config: Any, key: str) -> bool:
    value = OmegaConf.select(config, key, throw_on_missing=False) if config is not None else None
    if value is None and config is not None and (rule := rule_of(key, "")) is not None:
        value = rule.like
    return isinstance(value, int) and not isinstance(value, bool)


def grid(space: Space) -> list[Point]:
    """Every combination, the last key fastest, as Hydra's own sweeper counts."""
    for key, values in space.items():
        if isinstance(values, Interval):
            raise ConfigError(
                f"{plain_key(key)}: a grid can't list an interval; give values (1e-3,1e-2), "
                "or take sweep=random or sweep=optuna"
            )
    lists = [values.values for values in space.values() if isinstance(values, Choice)]
    return [dict(zip(space, combination, strict=True)) for combination in itertools.product(*lists)]


def draw(space: Space, count: int, seed: int) -> list[Point]:
    """`count` independent points: a longer sweep with the same seed begins with the shorter one's."""
    if not space:
        raise ConfigError(
            "sweep=random: nothing to vary; give values or intervals, as in optimizer.lr=interval(1e-4,1)"
        )
    generator = random.Random(seed)
    return [{key: values.draw(generator) for key, values in space.items()} for _ in range(count)]
