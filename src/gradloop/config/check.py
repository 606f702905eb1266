"""Checks on a composed config that need no torch: types, ranges, names, targets."""

from __future__ import annotations

import fnmatch
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradloop.config.compose import explain
from gradloop.config.targets import check_target_names
from gradloop.errors import ConfigError, did_you_mean

PRECISIONS = (
    "32-true", "32", "64-true", "64", "bf16-mixed", "bf16-true", "bf16", "16-mixed", "16-true", "16",
)  # fmt: skip
# Lightning reads more than one type here
ANY_TYPE = {"trainer.devices", "trainer.strategy", "trainer.max_time", "data.batch_size"}

Limit = tuple[str, Any]
POSITIVE: Limit = ("more than 0", lambda v: v > 0)
NOT_NEGATIVE: Limit = ("0 or more", lambda v: v >= 0)
AT_LEAST_ONE: Limit = ("1 or more", lambda v: v >= 1)
SHARE: Limit = ("0 to 1", lambda v: 0 <= v <= 1)
BELOW_ONE: Limit = ("at least 0 and below 1", lambda v: 0 <= v < 1)
INSIDE_ONE: Limit = ("above 0 and below 1", lambda v: 0 < v < 1)
BATCHES: Limit = (
    "a share above 0 and up to 1.0, or a whole number of batches",
    lambda v: (0 < v <= 1) if isinstance(v, float) else v >= 1,
)
# patterns over full keys; the first that matches counts
LIMITS: dict[str, Limit] = {
    "seed": ("0 to 4294967295", lambda v: 0 <= v < 2**32),
    "threads": AT_LEAST_ONE,
    "data.batch_size": AT_LEAST_ONE,
    "data.num_workers": NOT_NEGATIVE,
    "optimizer.lr": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.momentum": BELOW_ONE,
    "optimizer.eps": POSITIVE,
    "loss.label_smoothing": SHARE,
    "loss.delta": POSITIVE,
    "model.dropout": BELOW_ONE,
    "scheduler.max_lr": POSITIVE,
    "scheduler.pct_start": INSIDE_ONE,
    "scheduler.step_size": AT_LEAST_ONE,
    "trainer.max_epochs": AT_LEAST_ONE,
    "trainer.max_steps": ("-1 (no limit) or 1 or more", lambda v: v == -1 or v >= 1),
    "trainer.limit_val_batches": ("0 to 1.0, or a whole number of batches", lambda v: v >= 0),
    "trainer.limit_*_batches": BATCHES,
    "trainer.val_check_interval": BATCHES,
    "trainer.check_val_every_n_epoch": AT_LEAST_ONE,
    "trainer.accumulate_grad_batches": AT_LEAST_ONE,
    "trainer.gradient_clip_val": NOT_NEGATIVE,
    "trainer.overfit_batches": NOT_NEGATIVE,
    "trainer.num_nodes": AT_LEAST_ONE,
    "callbacks.*.patience": NOT_NEGATIVE,
    "callbacks.*.save_top_k": AT_LEAST_ONE,
    "callbacks.*.every_seconds": NOT_NEGATIVE,
    "bootstrap": NOT_NEGATIVE,
    "confidence": INSIDE_ONE,
    "explain.side": ("above 0 and up to 1", lambda v: 0 < v <= 1),
    "explain.seed": NOT_NEGATIVE,
    "explain.samples": AT_LEAST_ONE,
    "explain.steps": AT_LEAST_ONE,
    "explain.bins": AT_LEAST_ONE,
    "explain.repeats": AT_LEAST_ONE,
}


def check_config(
    config: DictConfig, reference: DictConfig, allow: tuple[str, ...] = (), *, checks_name: bool = True
) -> dict[str, Any]:
    """Return the config as plain data, resolved and without Hydra's node; raise ConfigError for what is wrong.

    allow: names of targets outside the known libraries that the user allowed on the command line.
    """
    values, expected = plain(config), plain(reference)
    _check_missing(values, "")
    _check_types(values, expected, "")
    _check_limits(values, "")
    if checks_name:
        _check_names(values)
    check_target_names(values, allow)
    return values


def plain(config: DictConfig) -> dict[str, Any]:
    """Return the config as plain data, resolved, without Hydra's node."""
    bare = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        return OmegaConf.to_container(bare, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error


def _check_missing(value: Any, key: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_missing(inner, f"{key}.{name}" if key else str(name))
    elif value == "???":
        raise ConfigError(f"'{key}' has no value: give one with {key}=…")


def _check_types(value: Any, expected: Any, key: str) -> None:
    if expected is None or key in ANY_TYPE:
        return
    if value is None and key.startswith(("callbacks.", "logger.")) and key.count(".") == 1:
        return  # null switches the entry off
    if isinstance(expected, dict):
        if not isinstance(value, dict):
            raise ConfigError(f"{key}={value}: expected a group with the keys {', '.join(map(str, expected))}")
        for name in value.keys() & expected.keys():
            _check_types(value[name], expected[name], f"{key}.{name}" if key else str(name))
        return
    fits, kind = True, ""
    if isinstance(expected, bool):
        fits, kind = isinstance(value, bool), "true or false"
    elif isinstance(expected, int):
        fits, kind = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif isinstance(expected, float):
        fits, kind = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    elif isinstance(expected, str):
        fits, kind = isinstance(value, str | int | float) and not isinstance(value, bool), "a word"
    elif isinstance(expected, list):
        fits, kind = isinstance(value, list), "a list, as in [a,b]"
    if not fits:
        shown = "nothing" if value in (None, "") else value
        raise ConfigError(
            f"{key}={'' if value is None else value}: expected {kind}, not {shown!r} (the YAML says {expected})"
        )


def _check_limits(value: Any, key: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_limits(inner, f"{key}.{name}" if key else str(name))
        return
    if isinstance(value, float) and not (value == value and abs(value) != float("inf")):
        raise ConfigError(f"{key}={value}: expected a finite number")
    if isinstance(value, bool) or not isinstance(value, int | float):
        if key in ("seed", "data.batch_size") and value is not None:
            raise ConfigError(f"{key}={value}: expected a whole number")
        return
    if key in ("seed", "data.batch_size") and not isinstance(value, int):
        raise ConfigError(f"{key}={value}: expected a whole number, as in {int(value)}")
    for pattern, (words, holds) in LIMITS.items():
        if fnmatch.fnmatch(key, pattern):
            if not holds(value):
                raise ConfigError(f"{key}={value}: expected {words}")
            return


def _check_names(values: dict[str, Any]) -> None:
    name = str(values.get("name", ""))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or ".." in name:
        raise ConfigError(
            f"name={name!r}: expected letters, digits, '.', '_' and '-' only (it becomes part of a folder's name)"
        )
    precision = str(values.get("trainer", {}).get("precision", "32-true"))
    if precision not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision={precision}: expected one of {', '.join(PRECISIONS)}"
            + did_you_mean(precision, PRECISIONS)
        )
    devices = values.get("trainer", {}).get("devices")
    if (isinstance(devices, int) and not isinstance(devices, bool) and (devices == 0 or devices < -1)) or (
        isinstance(devices, str) and devices != "auto" and not re.fullmatch(r"\d+(,\d*)*|-1", devices)
    ):
        raise ConfigError(f"trainer.devices={devices}: expected 1 or more, a list of devices, -1 or auto (all)")
