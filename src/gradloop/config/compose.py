"""Composing a config with Hydra, and saying in one line what went wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradloop.config.conf_folder import conf_folder
from gradloop.errors import ConfigError, did_you_mean


def compose_config(
    overrides: Sequence[str], *, config_name: str = "train", config_dir: str | None = None
) -> tuple[DictConfig, DictConfig]:
    """Return (config, reference): the composed config, and the same without the overrides of single values.

    The reference holds what the YAML files say; its values are the types that an override has to match.
    Both carry Hydra's own node. Raises ConfigError.
    """
    parsed = parse_overrides(overrides)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3", job_name="train"):
            if config_dir:
                _add_search_path(config_dir)
            loader = GlobalHydra.instance().config_loader()
            groups = [str(o.input_line) for o in parsed if _is_group(o, loader)]
            reference = compose(config_name, groups, return_hydra_config=True)
            try:
                config = compose(config_name, list(overrides), return_hydra_config=True)
            except HydraException as error:
                raise ConfigError(explain(error, reference)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error
    return config, reference


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse Hydra's override grammar; refuse a key that is given twice, and a sweep where one run is asked for."""
    for line in overrides:
        if "\n" in line or "\r" in line:
            raise ConfigError(f"{line!r}: a line break is not allowed in an override")
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    seen: dict[str, str] = {}
    for override in parsed:
        key = override.get_key_element().lstrip("+~")
        line = override.input_line or ""
        if key in seen:
            raise ConfigError(f"'{key}' is given twice: {seen[key]} and {line}")
        seen[key] = line
    return parsed


def refuse_sweep(parsed: Sequence[Override]) -> None:
    """Raise ConfigError for `seed=1,2` without -m."""
    for override in parsed:
        if override.is_sweep_override():
            raise ConfigError(f"{override.input_line}: several values are a sweep; add -m to run them all")


def _is_group(override: Override, loader: Any) -> bool:
    return bool(loader.get_group_options(override.key_or_group)) or override.key_or_group in ("hydra", "seeds")


def _add_search_path(config_dir: str) -> None:
    from hydra.core.config_search_path import SearchPathQuery

    path = GlobalHydra.instance().config_loader().get_search_path()
    path.prepend("command-line", config_dir, SearchPathQuery(provider="main"))
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    hydra.config_loader.repository.initialize_sources(path)  # type: ignore[attr-defined]


def explain(error: Exception, reference: DictConfig | None = None) -> str:
    """Turn an error of Hydra or OmegaConf into one line that names the key and the nearest right name."""
    text = str(error)
    if match := re.search(r"Could not find '(.+?)/([^/']+)'.*Available options in '.+?':(.*)", text, re.S):
        group, choice, listing = match.groups()
        options = [o for o in listing.split() if o]
        return f"{group}={choice}: no such choice; there are {', '.join(options)}{did_you_mean(choice, options)}"
    if match := re.search(r"Could not override '(.+?)'", text):
        key = match[1]
        return f"'{key}': no such key{_nearest_key(key, reference)}"
    if match := re.search(r"Could not override '(.+?)'.*No match in the defaults list", text, re.S):
        return f"'{match[1]}': no such group"
    if match := re.search(r"environment variable '(.+?)' not found", text, re.I):
        key = re.search(r"full_key: (\S+)", text)
        where = f"'{key[1]}': " if key else ""
        return f"{where}the environment variable {match[1]} is not set"
    first = next(line.strip() for line in text.splitlines() if line.strip())
    if cause := re.search(r"full_key: (\S+)", text):
        return f"'{cause[1]}': {first}"
    return first


def _nearest_key(key: str, reference: DictConfig | None) -> str:
    if reference is None:
        return ""
    parent, _, name = key.lstrip("+~").rpartition(".")
    node: Any = OmegaConf.select(reference, parent) if parent else reference
    while not isinstance(node, DictConfig) and parent:  # the mistake may be further up
        parent, _, name = parent.rpartition(".")
        node = OmegaConf.select(reference, parent) if parent else reference
    known = [str(k) for k in node if not str(k).startswith("_") and k != "hydra"]
    nearest = did_you_mean(name, known)
    if not nearest:
        prefix = f"{parent}." if parent else ""
        return f"; there {'is' if len(known) == 1 else 'are'} {', '.join(prefix + k for k in known)}"
    if parent:
        return nearest.replace("did you mean '", f"did you mean '{parent}.")
    return nearest
