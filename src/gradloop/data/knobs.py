"""Checks of values for those who build data and networks from Python, each with a line that names the key."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gradloop.config.knobs import check_rules
from gradloop.errors import ConfigError

T = TypeVar("T")


def build(key: str, target: Callable[..., T], knobs: Mapping[str, Any]) -> T:
    """Return `target(**knobs)`; raise `ConfigError` for a knob that it does not have or that is missing."""
    try:
        return target(**knobs)
    except TypeError as error:
        raise ConfigError(f"{key}: {str(error).rpartition('() ')[2]}") from error


def check(key: str, kind: str, **values: Any) -> None:
    """Raise `ConfigError` for a value that the command line would refuse for that class (`config.limits`)."""
    for name, value in values.items():
        check_rules(list(value) if isinstance(value, tuple) else value, f"{key}.{name}", f"gradloop.{kind}")


def channels_of(name: str, input_shape: Sequence[int], *, least: int) -> int:
    """Return the channels of pictures (channels, height, width) of at least `least` pixels; else `ConfigError`."""
    if len(input_shape) != 3 or min(input_shape[1:]) < least:
        raise ConfigError(
            f"model: {name} takes pictures (channels, height, width) of {least} pixels or more,"
            f" not data of shape {tuple(input_shape)}"
        )
    return input_shape[0]
