"""Checks on a composed config that need no torch: groups, names, types, ranges, targets."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradloop.config.conf_folder import conf_folder, may_be_null
from gradloop.config.limits import Rule, rule_of
from gradloop.config.own_files import check_keys
from gradloop.config.targets import check_target_names
from gradloop.config.wording import explain
from gradloop.errors import CheckpointError, ConfigError, did_you_mean

GROUPS = ("data", "model", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger")
CALLED = ("data", "model", "optimizer", "trainer")
MAPS = ("callbacks", "logger")  # of entries with a target each
OURS = {  # what Lightning's Trainer takes and a run gives it
    "enable_progress_bar": "callbacks.progress=null takes the bar away",
    "enable_model_summary": "summary=true prints the layers",
    "enable_checkpointing": "callbacks.checkpoints=null saves none",
    "logger": "choose one with logger=…",
    "callbacks": "add yours with callbacks=… or +callbacks.mine._target_=…",
    "plugins": "trainer.strategy and trainer.precision choose them",
    "num_sanity_val_steps": "every part is tried before the run begins",
    "log_every_n_steps": "every epoch is logged",
    "use_distributed_sampler": "the data shares its samples out among processes",
    "barebones": "callbacks=none callbacks/core@callbacks=none logger=none is the least",
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
        _check_handed(config, values, reference)
        _check_groups(values, expected)
    knobs = _knobs(values)
    _check_types(knobs, expected, "", None, OmegaConf.select(reference, "hydra.runtime.choices") or {})
    _check_rules(knobs, "", None)
    if checks_name:
        values["name"] = str(values["name"])
        _check_places(values)
        _check_trainer(values["trainer"])
    check_target_names(values, allow)
    return values


def check_recorded(path: Path, values: dict[str, Any], allow: tuple[str, ...]) -> None:
    """Raise ConfigError for a recorded config that may not be called; CheckpointError for one that is none.

    It is as complete as a composed one and as little to be trusted. path: the checkpoint that holds it.
    """
    check_target_names(values, allow, saved=True)
    try:
        _check_groups(values, values)
        for key in ("name", "seed", "output_dir", "monitor", "monitor_mode", "threads", "test"):
            values[key]
        int(values["trainer"]["max_epochs"]), values["data"]["seed"]
        _check_rules(_knobs(values), "", None)
    except ConfigError as error:
        raise CheckpointError(f"{path}: its recorded config is damaged: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its recorded config is damaged: {type(error).__name__} {error}") from error
    _check_places(values)


def plain(config: DictConfig) -> dict[str, Any]:
    """Return the config as plain data, resolved, without Hydra's node."""
    values: dict[str, Any] = {}
    try:
        for key in config:
            if key != "hydra":
                value = "???" if OmegaConf.is_missing(config, key) else config[key]
                values[str(key)] = (
                    OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
                )
        return values
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error


def _check_missing(value: Any, key: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_missing(inner, f"{key}.{name}" if key else str(name))
    elif value == "???":
        raise ConfigError(f"'{key}' has no value: give one with {key}=…")


@functools.cache
def _no_augmentation() -> Any:
    return yaml.safe_load((conf_folder() / "augmentation" / "none.yaml").read_text())


def _check_handed(config: DictConfig, values: dict[str, Any], reference: DictConfig) -> None:
    """Raise ConfigError for an augmentation or folds that are asked for and that nothing hands to the data."""
    given, choices = values.get("augmentation"), OmegaConf.select(reference, "hydra.runtime.choices") or {}
    asked = {}
    if given is not None and given != _no_augmentation():
        choice = choices.get("augmentation")
        asked["augmentation"] = f"augmentation={choice}" if choice not in (None, "none") else "augmentation"
    if values.get("folds") is not None:
        asked["folds"] = f"folds={values['folds']}"
    for name, said in asked.items():
        if f"${{{name}" in OmegaConf.to_yaml(config):
            continue
        data = choices.get("data") or values.get("data", {}).get("_target_")
        files = sorted((conf_folder() / "data").glob("*.yaml"))
        takers = [path.stem for path in files if f"${{{name}}}" in path.read_text()]
        raise ConfigError(f"{said}: data={data} takes no {name}; {', '.join(takers)} do")


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


def _knobs(values: dict[str, Any]) -> dict[str, Any]:
    """Return the config without what the data module is given of another group: a mistake is that group's."""
    data = values.get("data")
    if isinstance(data, dict) and "augmentation" in data and data["augmentation"] == values.get("augmentation"):
        return values | {"data": {name: value for name, value in data.items() if name != "augmentation"}}
    return values


def _check_types(value: Any, expected: Any, key: str, target: Any, choices: Mapping[str, str]) -> None:
    """Raise ConfigError for a value of another type than the YAML file's. target: what the key is a parameter of."""
    rule = rule_of(key, str(target))
    if expected is None and value is not None:
        expected = rule.like if rule is not None else None
    elif value is None and key.startswith(MAPS) and key.count(".") == 1:
        return  # null switches the entry off
    if rule is not None and (rule.null if value is None else rule.any_type):
        return
    if expected is None:
        return
    if isinstance(expected, dict):
        if not isinstance(value, dict):
            raise ConfigError(f"{key}={value}: expected a group with the keys {', '.join(map(str, expected))}")
        for name, inner in value.items():
            if name in expected:
                path = f"{key}.{name}" if key else str(name)
                _check_types(inner, expected[name], path, value.get("_target_"), choices)
        return
    if value is None and may_be_null(key, choices):
        return
    fits, kind = _fits(value, expected)
    if not fits:
        shown = "nothing" if value in (None, "") else repr(value)
        if isinstance(expected, list) and not isinstance(value, dict | bool | None):
            expected = [value] if not expected or type(expected[0]) is type(value) else expected
        elif isinstance(expected, int) and isinstance(value, float) and value.is_integer() and abs(value) < 2**31:
            expected = int(value)
        raise ConfigError(
            f"{key}={'' if value is None else value}: expected {kind}, not {shown} (as in {key}={_shown(expected)})"
        )
    if isinstance(expected, list) and expected:
        for index, inner in enumerate(value):
            _check_types(inner, expected[0], f"{key}[{index}]", None, choices)


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


def _check_rules(value: Any, key: str, target: Any) -> None:
    """Raise ConfigError for a value outside of its key's range or words, and for a number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key}={value}: expected a finite number")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ConfigError(f"{key}={value}: expected a number that 64 bits hold")
    rule = rule_of(key, str(target))
    if rule is not None and rule.any_type and value is not None:
        _hold(value, key, rule)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_rules(inner, f"{key}[{index}]", None)
            if rule is not None and not isinstance(inner, dict):
                _hold(inner, f"{key}[{index}]", rule)
    elif rule is not None and value is not None and not isinstance(value, dict):
        _hold(value, key, rule)
    if isinstance(value, dict):
        for name, inner in value.items():
            if not str(name).startswith("_"):
                _check_rules(inner, f"{key}.{name}" if key else str(name), value.get("_target_"))


def _hold(value: Any, key: str, rule: Rule) -> None:
    try:
        holds = rule.holds(value)
    except TypeError:  # a word where the range is one of numbers
        holds = False
    if not holds:
        raise ConfigError(f"{key}={value}: expected {rule.says}{did_you_mean(str(value), rule.words)}")


def _check_places(values: dict[str, Any]) -> None:
    """Raise ConfigError for a name or folder that can't be one, or lies outside of the run's own."""
    name = str(values.get("name", ""))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or ".." in name:
        raise ConfigError(
            f"name={name!r}: expected letters, digits, '.', '_' and '-' only (it becomes part of a folder's name)"
        )
    if not str(values.get("output_dir", "outputs")).strip():
        raise ConfigError("output_dir=: expected a folder")
    for key, folder in _folders(values, ""):
        if folder is not None and (str(folder).startswith(("/", "~", "\\")) or ".." in str(folder)):
            raise ConfigError(f"{key}={folder}: expected a folder inside the run's own")


def _folders(values: Any, key: str) -> list[tuple[str, Any]]:
    """Return where Lightning's callbacks, loggers and profilers would write by themselves."""
    found = []
    for name, inner in values.items() if isinstance(values, dict) else ():
        path = f"{key}.{name}" if key else str(name)
        if name in ("dirpath", "save_dir", "default_root_dir") and not isinstance(inner, dict):
            found.append((path, inner))
        found += _folders(inner, path)
    return found


def _check_trainer(trainer: dict[str, Any]) -> None:
    """Raise ConfigError for settings of the trainer that would be taken and then not do what they say."""
    for name, instead in OURS.items():
        if name in trainer:
            raise ConfigError(f"trainer.{name}={trainer[name]}: gradloop sets this itself; {instead}")
    strategy = trainer.get("strategy")
    if isinstance(strategy, str) and re.search("spawn|fork|notebook", strategy):
        raise ConfigError(f"trainer.strategy={strategy}: its processes can't hand back what they trained; use ddp")
    every, epochs = trainer.get("check_val_every_n_epoch"), trainer.get("max_epochs")
    validates = trainer.get("limit_val_batches", 1.0) != 0 and not trainer.get("fast_dev_run")
    if validates and isinstance(every, int) and isinstance(epochs, int) and every > epochs:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={every}: never validates in trainer.max_epochs={epochs}; expected 1 to "
            f"{epochs}, or trainer.limit_val_batches=0 for no validation"
        )
