"""Checks on a composed config that need no torch: groups, names, types, ranges, targets."""

import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradloop.config.compose import compose_config
from gradloop.config.conf_folder import read_choice
from gradloop.config.idle import idle_knobs, refuse_idle
from gradloop.config.knobs import MAPS, as_words, check_rules, check_types
from gradloop.config.not_done import refuse_not_done
from gradloop.config.overrides import parse_overrides
from gradloop.config.own_files import check_keys, shipped
from gradloop.config.own_module import check_handed, data_as_taken, only_what_is_taken, settle_module, target_of
from gradloop.config.signature import entries, flatten
from gradloop.config.targets import check_target_names
from gradloop.config.together import check_together, check_trainer
from gradloop.config.trackers import check_trackers
from gradloop.config.wording import explain
from gradloop.errors import CheckpointError, ConfigError
from gradloop.process import is_second, told

GROUPS = ("data", "model", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger")
CALLED = ("data", "model", "optimizer", "trainer")


def checked(
    overrides: Sequence[str],
    config_dir: str | None,
    config_name: str,
    allow: tuple[str, ...],
    *,
    asked: Sequence[Override] | None = None,
    command: str = "train",
    idle: bool = True,
) -> tuple[DictConfig, dict[str, Any]]:
    """Return a command line's config, as Hydra composes it and as checked plain data; raise ConfigError.

    It is the way of every run: one alone, a sweep's (command: sweep), one that goes on. allow: as of `check_config`.
    asked: those overrides that were typed now, if these are not all of them. idle: refuse those that nothing takes.
    """
    parsed = parse_overrides(overrides)
    config, reference = compose_config(overrides, config_name=config_name, config_dir=config_dir)
    typed = parsed if asked is None else asked
    refuse_not_done(typed, config, command=command)
    values = check_config(config, reference, allow)
    only_what_is_taken(values, {o.key_or_group for o in parsed}, reference)
    if command == "train":  # of a sweep, each of its jobs does
        data_as_taken(values, {o.key_or_group for o in parsed}, reference, allow)
    if idle:
        refuse_idle(typed, idle_knobs(values, typed))
    if (resume := values.get("resume")) is not None:
        raise ConfigError(f"resume={resume}: a YAML file can't ask for that; type it")
    settle_module(values, config, reference, parsed)
    check_trackers(values)
    return config, values


def allowed_by_name(parsed: Sequence[Override]) -> tuple[str, ...]:
    """Return the targets that the command line itself names: `allow=[…]` and `<key>._target_=…`."""
    names: list[str] = []
    for override in parsed:
        key, value = override.key_or_group, override.value()
        if key == "allow":
            names += [str(name) for name in (value if isinstance(value, list) else [value])]
        elif key.endswith("._target_") and isinstance(value, str):
            names.append(value)
    return tuple(names)


def draw_seed(values: dict[str, Any]) -> None:
    """Draw the seed that was not given, also where the config has copied it to. Seed 0 is a seed."""
    if values["seed"] is None:
        values["seed"] = told()["seed"] if is_second() and "seed" in told() else secrets.randbelow(2**32)
    if values["data"].get("seed") is None:
        values["data"]["seed"] = values["seed"]


def check_config(
    config: DictConfig, reference: DictConfig, allow: tuple[str, ...] = (), *, checks_name: bool = True
) -> dict[str, Any]:
    """Return the config as plain data, resolved and without Hydra's node; raise ConfigError for what is wrong.

    allow: names of targets outside the known libraries that the user allowed on the command line.
    checks_name: the config is one of a run, with a name and all groups.
    """
    values, expected = plain(config), _expected(reference)
    if missing := next((key for key, value in flatten(values).items() if value == "???"), None):
        raise ConfigError(f"'{missing}' has no value: give one with {missing}=…")
    check_keys(config, values, expected)
    if checks_name:
        check_handed(config, values, reference)
        _check_groups(values, expected)
    knobs = _knobs(values)
    for group in CALLED if checks_name else ():
        target = values[group]["_target_"]
        if isinstance(target, str) and target != expected[group].get("_target_"):  # typed, in place of the choice's
            expected = expected | {group: expected[group] | shipped(group, target)}
    check_types(knobs, expected, "", None)
    check_rules(knobs, "", None)
    values = as_words(values, expected, "", None)
    if checks_name:
        values["name"] = str(values["name"])
        check_together(values)
        if re.fullmatch(r"[\d, ]+", str(devices := values["trainer"].get("devices"))):  # 3 or [0,1], as a word
            several = [int(each) for each in str(devices).split(",") if each.strip()]
            values["trainer"]["devices"] = several if "," in str(devices) else several[0]
        _check_places(values)
        check_trainer(values["trainer"], own=target_of(values) is not None)
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
        check_rules(_knobs(values), "", None)
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


_references: dict[int, tuple[DictConfig, dict[str, Any]]] = {}


def _expected(reference: DictConfig) -> dict[str, Any]:
    """Return the reference as plain data: many jobs of a sweep have one and the same."""
    if id(reference) not in _references:
        _references.clear()
        _references[id(reference)] = reference, plain(reference)
    return _references[id(reference)][1]


def _check_groups(values: dict[str, Any], expected: dict[str, Any]) -> None:
    for group in GROUPS:
        if not isinstance(values.get(group), dict):
            instead = f", {group}=none for nothing" if group in MAPS else ""
            raise ConfigError(f"'{group}': a run needs this group; choose one with {group}=…{instead}")
        if group in CALLED and "_target_" not in values[group]:
            raise ConfigError(f"'{group}._target_': a run needs it; choose one with {group}=…")
    for group in MAPS:
        held = values.get(group) or {}  # a run of before has no metrics of its own
        if not isinstance(held, dict):
            raise ConfigError(f"{group}={held}: expected entries with a _target_, as in {group}.mine._target_=…")
        for name, entry in held.items():
            if entry is not None and (not isinstance(entry, dict) or "_target_" not in entry):
                raise ConfigError(
                    f"{group}.{name}={entry}: expected an entry with a _target_, or null to switch it off"
                )
    for group in ("trainer", "sweep"):
        for name in read_choice(group, "default").keys() - values[group].keys() if expected is not values else ():
            raise ConfigError(f"'{group}.{name}': missing; let the file begin with defaults: [default, _self_]")
    scheduler = values["scheduler"]
    for name in scheduler.keys() - expected["scheduler"].keys() if scheduler.get("_target_") is None else ():
        raise ConfigError(f"'scheduler.{name}': scheduler=constant has no such key; choose another scheduler first")


def _knobs(values: dict[str, Any]) -> dict[str, Any]:
    """Return the config without what the data module is given of another group: a mistake is that group's."""
    data = values.get("data")
    if isinstance(data, dict) and "augmentation" in data and data["augmentation"] == values.get("augmentation"):
        return values | {"data": {name: value for name, value in data.items() if name != "augmentation"}}
    return values


def _check_places(values: dict[str, Any]) -> None:
    """Raise ConfigError for a name or folder that can't be one, or lies outside of the run's own."""
    name = str(values.get("name", ""))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) or ".." in name:
        raise ConfigError(
            f"name={name!r}: expected letters, digits, '.', '_' and '-' only (it becomes part of a folder's name)"
        )
    if not str(values.get("output_dir", "outputs")).strip():
        raise ConfigError("output_dir=: expected a folder")
    for key, name, folder in entries(values):
        # where Lightning's callbacks, loggers and profilers write by themselves
        writes = name in ("dirpath", "save_dir", "default_root_dir") and not isinstance(folder, dict | None)
        if writes and (str(folder).startswith(("/", "~", "\\")) or ".." in str(folder)):
            raise ConfigError(f"{key}={folder}: expected a folder inside the run's own")
