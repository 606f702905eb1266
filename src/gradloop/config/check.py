"""Checks on a composed config that need no torch: groups, names, types, ranges, targets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradloop.config.limits import check_limits, check_trainer, check_words
from gradloop.config.conf_folder import may_be_null
from gradloop.config.own_files import check_keys
from gradloop.config.targets import check_target_names
from gradloop.config.wording import explain
from gradloop.errors import CheckpointError, ConfigError

GROUPS = ("data", "model", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger")
CALLED = ("data", "model", "optimizer", "trainer")
MAPS = ("callbacks", "logger")  # of entries with a target each
# Lightning reads more than one type here
ANY_TYPE = {"trainer.devices", "trainer.strategy", "trainer.max_time", "data.in_memory"}  # who takes them checks them
# where the YAML files say null: a value of the type that fits besides
NULLABLE: dict[str, Any] = {
    "seed": 0,
    "data.seed": 0,
    "data.batch_size": 32,
    "monitor": "val/loss",
    "monitor_mode": "max",
    "epoch_metrics": ["accuracy"],
    "resume": "last",
    "trainer.gradient_clip_val": 1.0,
    "scheduler.T_max": 100,
    "scheduler.total_steps": 100,
    "scheduler.total_iters": 100,
}


def check_config(
    config: DictConfig, reference: DictConfig, allow: tuple[str, ...] = (), *, checks_name: bool = True
) -> dict[str, Any]:
    """Return the config as plain data, resolved and without Hydra's node; raise ConfigError for what is wrong.

    allow: names of targets outside the known libraries that the user allowed on the command line.
    checks_name: the config is one of a run, with a name and all groups.
    """
    values, expected = plain(config), plain(reference)
    _check_missing(values, "")
    check_keys(config, values, expected)
    if checks_name:
        _check_groups(values, expected)
    _check_types(values, expected, "", _choices(reference))
    check_limits(values)
    if checks_name:
        values["name"] = str(values["name"])
        check_words(values)
        check_trainer(values["trainer"])
    check_target_names(values, allow)
    return values


def check_recorded(path: Path, values: dict[str, Any], allow: tuple[str, ...]) -> None:
    """Raise ConfigError for a recorded config that may not be called; CheckpointError for one that is none.

    It is as complete as a composed one and as little to be trusted. path: the checkpoint that holds it.
    """
    check_target_names(values, allow)
    try:
        _check_groups(values, values)
        for key in ("name", "seed", "output_dir", "monitor", "monitor_mode", "threads", "test"):
            values[key]
        int(values["trainer"]["max_epochs"]), values["data"]["seed"]
        check_limits(values)
        check_words(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its recorded config is damaged: {type(error).__name__} {error}") from error


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


def _check_groups(values: dict[str, Any], expected: dict[str, Any]) -> None:
    for group in GROUPS:
        if not isinstance(values.get(group), dict):
            instead = f", {group}=none for nothing" if group in MAPS else ""
            raise ConfigError(f"'{group}': a run needs this group; choose one with {group}=…{instead}")
        if group in CALLED and "_target_" not in values[group]:
            raise ConfigError(f"'{group}._target_': a run needs it; choose one with {group}=…")
    for group in MAPS:
        for name, entry in values[group].items():
            if entry is not None and (not isinstance(entry, dict) or "_target_" not in entry):
                raise ConfigError(
                    f"{group}.{name}={entry}: expected an entry with a _target_, or null to switch it off"
                )
    scheduler = values["scheduler"]
    for name in scheduler.keys() - expected["scheduler"].keys() if scheduler.get("_target_") is None else ():
        raise ConfigError(f"'scheduler.{name}': scheduler=constant has no such key; choose another scheduler first")


def _check_types(value: Any, expected: Any, key: str, choices: Mapping[str, str]) -> None:
    if expected is None:
        expected = None if value is None else NULLABLE.get(key)
    elif value is None and key.startswith(MAPS) and key.count(".") == 1:
        return  # null switches the entry off
    if expected is None or key in ANY_TYPE:
        return
    if isinstance(expected, dict):
        if not isinstance(value, dict):
            raise ConfigError(f"{key}={value}: expected a group with the keys {', '.join(map(str, expected))}")
        for name, inner in value.items():
            if name in expected:
                _check_types(inner, expected[name], f"{key}.{name}" if key else str(name), choices)
        return
    if value is None and may_be_null(key, choices):
        return
    fits, kind = _fits(value, expected)
    if not fits:
        shown = "nothing" if value in (None, "") else repr(value)
        if isinstance(expected, int) and isinstance(value, float) and value.is_integer() and abs(value) < 2**31:
            expected = int(value)
        raise ConfigError(
            f"{key}={'' if value is None else value}: expected {kind}, not {shown} (as in {key}={_shown(expected)})"
        )
    if isinstance(expected, list) and expected:
        for index, inner in enumerate(value):
            _check_types(inner, expected[0], f"{key}[{index}]", choices)


def _choices(reference: DictConfig) -> Mapping[str, str]:
    return OmegaConf.select(reference, "hydra.runtime.choices") or {}


def _fits(value: Any, expected: Any) -> tuple[bool, str]:
    if isinstance(expected, bool):
        return isinstance(value, bool), "true or false"
    if isinstance(expected, int):
        return isinstance(value, int) and not isinstance(value, bool), "a whole number"
    if isinstance(expected, float):
        return isinstance(value, int | float) and not isinstance(value, bool), "a number"
    if isinstance(expected, str):
        return isinstance(value, str | int | float) and not isinstance(value, bool), "a word"
    if isinstance(expected, list):
        return isinstance(value, list), "a list"
    return True, ""


def _shown(value: Any) -> str:
    """Return the value as the command line takes it."""
    return str(value).replace(" ", "").replace("'", "").lower() if isinstance(value, list | bool) else str(value)
