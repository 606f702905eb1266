"""What is varied: Hydra's sweep grammar (`1,2,3`, `choice`, `range`, `glob`, `interval`) as search spaces."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gradloop.errors import ConfigError

PREFIX = "sweep.search_space."
# how a sweep goes about its work is no part of its jobs' configs
OWN_KEYS = ("sweep", "seeds")


@dataclass(frozen=True)
class Value:
    """One value of a key: as data, and as the text that Hydra reads."""

    data: Any
    text: str


@dataclass(frozen=True)
class Choice:
    """Listed values: `1,2,3`, `choice(adam,sgd)`, `range(5)`, `glob(*)`."""

    values: tuple[Value, ...]
    step: float | None = None  # between the values of a `range`, which are numbers in order

    def draw(self, generator: random.Random) -> Value:
        return generator.choice(self.values)


@dataclass(frozen=True)
class Interval:
    """Every number between two: `interval(0, 1)`, by factors with `tag(log, interval(1e-4, 1e-1))`.

    Whole numbers where the config holds one (`model.width`), or with `int(interval(16, 256))`.
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
    arguments: Iterable[str], given: Mapping[str, str], config_loader: Any = None, config: Any = None
) -> tuple[list[str], Space]:
    """Split a sweep's overrides into those every job gets and the search space.

    given: search space from YAML, `{"optimizer.lr": "tag(log, interval(1e-4, 1e-1))"}`. The command line adds
    to it and replaces the same key; a single value there takes the key out.
    config: the composed config, whose values say which keys hold whole numbers.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create(config_loader=config_loader)
    space: Space = {}
    for key, text in given.items():
        if key == "allow" or key.endswith("_target_"):  # a job would take it for the command line's own word
            raise ConfigError(f"sweep.search_space.{key}={text}: refused, only the command line names what is called")
        try:
            (override,) = parser.parse_overrides([f"{key}={text}"])
        except HydraException as error:
            raise ConfigError(f"sweep.search_space.{key}={text}: {str(error).splitlines()[0]}") from None
        space[key] = domain(key, override, config)
    fixed = []
    for override in parser.parse_overrides(list(arguments)):
        key = override.get_key_element()
        if plain_key(key).startswith(PREFIX) and override.is_sweep_override():
            key = plain_key(key)[len(PREFIX) :]
        elif plain_key(key).split(".")[0] in OWN_KEYS:
            continue
        if override.is_sweep_override():
            for other in [other for other in space if plain_key(other) == plain_key(key)]:
                del space[other]
            space[key] = domain(key, override, config)
        else:
            fixed.append(override.input_line or "")
            space = {other: kept for other, kept in space.items() if plain_key(other) != plain_key(key)}
    return fixed, space


def domain(key: str, override: Any, config: Any = None) -> Domain:
    """The search domain of one parsed override; raise ConfigError for one that holds nothing."""
    from hydra.errors import HydraException

    if not override.is_sweep_override():
        value = override.value()
        # a list in YAML is a choice: `optimizer.lr: [0.1, 0.01]`
        if isinstance(value, list) and value:
            texts = [override._get_value_element_as_str(item) for item in override._value]
            return Choice(tuple(Value(item, text) for item, text in zip(value, texts, strict=True)))
        return Choice((Value(value, override.get_value_element_as_str()),))
    if override.is_interval_sweep():
        sweep = override.value()
        low, high, log = sweep.start, sweep.end, "log" in sweep.tags
        if not low < high:
            raise ConfigError(f"{key}={override.get_value_string()}: expected a lower bound below the upper one")
        if log and low <= 0:
            raise ConfigError(f"{key}={override.get_value_string()}: a log scale needs a lower bound above 0")
        whole = (isinstance(low, int) and isinstance(high, int)) or _is_whole(config, plain_key(key))
        return Interval(float(low), float(high), log, whole)
    try:
        texts = list(override.sweep_string_iterator())
        data = [_plain(value) for value in override.sweep_iterator()]
    except HydraException as error:
        raise ConfigError(f"{key}={override.get_value_string()}: {str(error).splitlines()[0]}") from None
    if not texts:
        raise ConfigError(f"{key}={override.get_value_string()}: no value fits")
    if getattr(override.value(), "shuffle", False):
        data = [_read(text) for text in texts]  # each of the two iterators has shuffled for itself
    step = float(override.value().step) if override.is_range_sweep() else None
    return Choice(tuple(Value(value, text) for value, text in zip(data, texts, strict=True)), step)


def _is_whole(config: Any, key: str) -> bool:
    from omegaconf import OmegaConf

    value = OmegaConf.select(config, key, throw_on_missing=False) if config is not None else None
    return isinstance(value, int) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """A parsed element without Hydra's marks of quotes."""
    from hydra.core.override_parser.types import Override

    return Override._convert_value(value)


def _read(text: str) -> Any:
    from gradloop.sweeps.sweep_folder import parse_value

    return parse_value(text)


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
        raise ConfigError("sweep=random: nothing to vary; give values or intervals, as in optimizer.lr=interval(0,1)")
    generator = random.Random(seed)
    return [{key: values.draw(generator) for key, values in space.items()} for _ in range(count)]
