"""Composing a config with Hydra."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gradloop.config.conf_folder import conf_folder
from gradloop.config.hydra_node import check_hydra_node
from gradloop.config.own_files import without_own_files
from gradloop.config.wording import explain, no_such_choice
from gradloop.errors import ConfigError

_references: dict[tuple[str, tuple[str, ...], int], DictConfig] = {}
EXPECTED = "expected key=value, as in optimizer.lr=0.1"


def compose_config(
    overrides: Sequence[str], *, config_name: str = "train", config_dir: str | None = None
) -> tuple[DictConfig, DictConfig]:
    """Return (config, reference): the composed config, and the same without the overrides of single values.

    The reference holds what gradloop's YAML files say; its values are the types that an override, and a user's own
    file, has to match.
    Both carry Hydra's own node. Raises ConfigError.
    """
    parsed = parse_overrides(overrides)
    if config_dir is not None and not Path(config_dir).is_dir():
        raise ConfigError(f"--config-dir={config_dir}: no such folder")
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3", job_name="train"):
            if config_dir is not None:
                _add_search_path(config_dir)
            loader = GlobalHydra.instance().config_loader()
            groups: list[Override] = []
            values: list[Override] = []
            for override in parsed:
                key = override.key_or_group
                options = [] if "." in key else loader.get_group_options(key)
                _check_choice(override, options)
                (groups if options else values).append(override)
            reference = _reference(config_name, config_dir, tuple(str(o.input_line) for o in groups))
            try:
                config = _with_values(reference, parsed, values)
            except HydraException as error:
                raise ConfigError(explain(error, reference)) from error
            if config_dir is not None:
                reference = without_own_files(reference, config_name)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error
    except KeyError as error:  # Hydra looks the names up in os.environ
        raise ConfigError(f"hydra.job.env_copy=[{error.args[0]}]: the environment has no such variable") from error
    check_hydra_node(config)
    return config, reference


def _reference(config_name: str, config_dir: str | None, groups: tuple[str, ...]) -> DictConfig:
    """Compose the config without single values, or take it from a moment ago: a sweep asks for it in each job."""
    newest = max(path.stat().st_mtime_ns for path in conf_folder().rglob("*.yaml"))
    key = (config_name, groups, newest)
    if config_dir is not None:
        return compose(config_name, list(groups), return_hydra_config=True)
    if key not in _references:
        _references[key] = compose(config_name, list(groups), return_hydra_config=True)
    return _references[key]


def _with_values(reference: DictConfig, parsed: Sequence[Override], values: list[Override]) -> DictConfig:
    """Return the config with its single values, as Hydra puts them in.

    No file of a defaults list depends on a single value, so composing anew would give the same, 100 times slower.
    """
    config = deepcopy(reference)
    OmegaConf.clear_cache(config)  # `now` is now
    OmegaConf.set_readonly(config.hydra, False)
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    task = [o for o in parsed if not o.is_hydra_override()]
    names = config.hydra.job.config.override_dirname
    with open_dict(config.hydra):
        config.hydra.runtime.cwd = os.getcwd()
        config.hydra.overrides.task = [o.input_line for o in task]
        config.hydra.overrides.hydra = [o.input_line for o in parsed if o.is_hydra_override()]
        config.hydra.job.override_dirname = get_overrides_dirname(
            task, kv_sep=names.kv_sep, item_sep=names.item_sep, exclude_keys=names.exclude_keys
        )
    return config


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse Hydra's override grammar; refuse a key that is given twice."""
    parser = OverridesParser.create()
    parsed: list[Override] = []
    seen: dict[str, str] = {}
    for line in overrides:
        if "\n" in line or "\r" in line:
            raise ConfigError(f"{line!r}: a line break is not allowed in an override")
        try:
            override = parser.parse_override(line)
        except HydraException as error:
            reason = str(error).splitlines()[0].strip()
            raise ConfigError(f"{line}: can't be read ({reason}); {EXPECTED}") from error
        key = override.get_key_element().lstrip("+~")
        if not key:
            raise ConfigError(f"{line}: can't be read (no key); {EXPECTED}")
        if key in seen:
            raise ConfigError(f"'{key}' is given twice: {seen[key]} and {line}")
        seen[key] = line
        parsed.append(override)
    return parsed


def refuse_sweep(parsed: Sequence[Override]) -> None:
    """Raise ConfigError for `seed=1,2` without -m."""
    for override in parsed:
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: several values are a sweep; add -m to run them all")


def _check_choice(override: Override, options: Sequence[str]) -> None:
    """Refuse a group's choice that is not there: Hydra's own answers are many lines, or a traceback."""
    group = override.key_or_group
    if not options or override.is_delete() or override.is_sweep_override() or isinstance(override.value(), dict):
        return
    chosen = override.value()
    for name in chosen if isinstance(chosen, list) else [chosen]:
        if not isinstance(name, str):
            instead = f"; ~{group} takes it away" if group in ("experiment", "debug") else ""
            raise ConfigError(f"{override.input_line}: expected one of {', '.join(options)}{instead}")
        if name not in options and "/" not in name:
            raise ConfigError(no_such_choice(group, name, options))


def _add_search_path(config_dir: str) -> None:
    """Add the user's folder where Hydra's own `--config-dir` adds it: behind ours, so it can't replace a file."""
    path = GlobalHydra.instance().config_loader().get_search_path()
    path.prepend("command-line", f"file://{Path(config_dir).absolute()}", SearchPathQuery(provider="schema"))
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    hydra.config_loader.repository.initialize_sources(path)  # type: ignore[attr-defined]
