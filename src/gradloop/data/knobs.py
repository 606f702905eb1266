"""Checks of single values for those who build data and networks from Python, each with a line that names the key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gradloop.config import rules
from gradloop.errors import ConfigError, did_you_mean

T = TypeVar("T")


def build(key: str, target: Callable[..., T], knobs: Mapping[str, Any]) -> T:
    """Return `target(**knobs)`; raise `ConfigError` for a knob that it does not have or that is missing."""
    try:
        return target(**knobs)
    except TypeError as error:
        raise ConfigError(f"{key}: {str(error).rpartition('() ')[2]}") from error


def number(
    key: str, value: Any, low: float, high: float = math.inf, *, above: bool = False, below: bool = False
) -> float:
    """Return `value` if it is a number from low to high; else raise `ConfigError`. above, below: not the ends."""
    rule = rules.number(low, high, above=above, below=below)
    if isinstance(value, bool) or not isinstance(value, int | float) or not rule.holds(value):
        raise ConfigError(f"{key}={_shown(value)}: expected {rule.says}")
    return float(value)


def whole(key: str, value: Any, low: int) -> int:
    """Return `value` if it is a whole number, `low` or more; raise `ConfigError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigError(f"{key}={_shown(value)}: expected a whole number, {low} or more")
    return value


def one_of(key: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return `value` if it is among the choices; raise `ConfigError` otherwise."""
    if value not in choices:
        hint = did_you_mean(str(value), [str(choice) for choice in choices])
        raise ConfigError(f"{key}={_shown(value)}: expected {' or '.join(map(_shown, choices))}{hint}")
    return value


def channels_of(name: str, input_shape: Sequence[int], *, least: int) -> int:
    """Return the channels of pictures (channels, height, width) of at least `least` pixels; else `ConfigError`."""
    if len(input_shape) != 3 or min(input_shape[1:]) < least:
        raise ConfigError(
            f"model: {name} takes pictures (channels, height, width) of {least} pixels or more,"
            f" not data of shape {tuple(input_shape)}"
        )
    return input_shape[0]


def _shown(value: Any) -> str:
    """The value as YAML writes it, so that the line can be copied into a command."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
