"""Hydra's own part of a config may come from a stranger as well: what in it gets called."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from gradloop.errors import ConfigError

# Hydra itself looks launchers and sweepers up among the installed plugins, and calls nothing else by these names
PLUGINS = ("hydra.launcher._target_", "hydra.sweeper._target_")
HARMLESS = ("hydra.experimental.callbacks.LogJobReturnCallback",)


def check_hydra_node(node: DictConfig) -> None:
    """Refuse whatever Hydra or `logging.config` would call that is no launcher, sweeper or log handler."""
    _check(OmegaConf.to_container(node, resolve=False), "hydra")


def _check(value: Any, key: str) -> None:
    if isinstance(value, list):
        for index, inner in enumerate(value):
            _check(inner, f"{key}[{index}]")
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        path = f"{key}.{name}"
        logs = key.startswith(("hydra.job_logging", "hydra.hydra_logging"))
        if name == "_target_":
            plugin = path in PLUGINS and str(inner).startswith(("hydra_plugins.", "hydra._internal.core_plugins."))
            refused = not (plugin or inner is None or inner in HARMLESS)
        else:  # logging.config calls what these name
            refused = logs and (name == "()" or (name == "class" and not str(inner).startswith("logging.")))
        if refused:
            raise ConfigError(f"{path}={inner}: refused, configs may not call this")
        _check(inner, path)
