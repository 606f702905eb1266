"""A check that convolutional networks share."""

from __future__ import annotations

from collections.abc import Sequence

from gradloop.errors import ConfigError


def channels_of(name: str, input_shape: Sequence[int], *, least: int) -> int:
    """Return the channels of pictures (channels, height, width) of at least `least` pixels; else `ConfigError`."""
    if len(input_shape) != 3 or min(input_shape[1:]) < least:
        raise ConfigError(
            f"model: {name} takes pictures (channels, height, width) of {least} pixels or more,"
            f" not data of shape {tuple(input_shape)}"
        )
    return input_shape[0]
