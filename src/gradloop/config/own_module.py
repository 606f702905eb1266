"""A LightningModule of the user's own takes the place of groups: what nobody would use is refused or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from gradloop.config.conf_folder import conf_folder
from gradloop.config.signature import is_below
from gradloop.errors import ConfigError

REPLACED = ("model", "loss", "optimizer", "scheduler")
# what gradloop's own training does, and does not do for another
NOT_DONE = ("epoch_metrics", "metrics", "channels_last", "compile", "test_time_flip", "test_time_shift", "init_from")


def target_of(values: Mapping[str, Any]) -> str | None:
    """Return the target of the user's own LightningModule; None for gradloop's own training."""
    return (values.get("module") or {}).get("_target_")


def settle_module(
    values: dict[str, Any], config: DictConfig, reference: DictConfig, parsed: Sequence[Override]
) -> None:
    """Leave out of a checked config what its kind of module has no use for; raise ConfigError if it was asked for.

    A group that the module's own config takes (`optimizer: ${optimizer}`) is used.
    """
    target = target_of(values)
    if target is None:
        extra = [key for key in values.pop("module", None) or {} if key != "_target_"]
        if extra:
            raise ConfigError(f"'module.{extra[0]}': module=none has no such key; give module._target_=… as well")
        return
    taken = OmegaConf.to_yaml(config.module)
    defaults = yaml.safe_load((conf_folder() / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    usual = {group: choice for entry in defaults if isinstance(entry, dict) for group, choice in entry.items()}
    choices = config.hydra.runtime.choices
    for group in REPLACED:
        if f"${{{group}" in taken:
            continue
        lines = [str(o.input_line) for o in parsed if is_below(o.key_or_group, [group])]
        if choices.get(group) != usual[group]:
            lines.append(f"{group}={choices.get(group)}")
        if lines:
            raise ConfigError(
                f"{lines[0]}: module._target_={target} has its own {group}; "
                f"give it what it takes with module.…=…, or hand this one over: module.{group}='${{{group}}}'"
            )
        values[group] = {"_target_": None}
    for key in NOT_DONE:
        if key in values and values[key] != OmegaConf.select(reference, key):
            raise ConfigError(
                f"{key}={values[key]}: not done with module._target_={target}, which sees to that itself"
            )
