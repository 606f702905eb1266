"""Checks of single numbers from the command line, each with a line that names the key."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gradloop.errors import ConfigError, did_you_mean

T = TypeVar("T")


def build(key: str, target: Callable[..., T], knobs: Mapping[str, Any]) -> T:
    """Return `target(**knobs)`; raise `ConfigError` for a knob that it does not have or that is missing."""
    known = list(inspect.signature(target).parameters)
    for name in knobs:
        if name not in known:
            raise ConfigError(f"{key}.{name}: no such knob{did_you_mean(str(name), known)}")
    for name in known:
        if name not in knobs:
            raise ConfigError(f"{key}.{name}: missing")
    return target(**knobs)


def number(key: str, value: Any, low: float, high: float = math.inf) -> float:
    """Return `value` if it is a number with low <= value <= high; raise `ConfigError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        upper = "" if high == math.inf else f" to {high:g}"
        raise ConfigError(f"{key}={_shown(value)}: expected a number from {low:g}{upper or ' upwards'}")
    return float(value)


def whole(key: str, value: Any, low: int, high: int | None = None) -> int:
    """Return `value` if it is a whole number with low <= value <= high; raise `ConfigError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        upper = " upwards" if high is None else f" to {high}"
        raise ConfigError(f"{key}={_shown(value)}: expected a whole number from {low}{upper}")
    return value


def one_of(key: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return `value` if it is among the choices; raise `ConfigError` otherwise."""
    if value not in choices:
        hint = did_you_mean(str(value), [str(choice) for choice in choices])
        raise ConfigError(f"{key}={_shown(value)}: expected {' | '.join(map(_shown, choices))}{hint}")
    return value


def _shown(value: Any) -> str:
    """The value as YAML writes it, so that the line can be copied into a command."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
