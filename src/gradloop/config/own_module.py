"""What a class that a config names is handed of its keys: what nobody would use is refused or left out.

A LightningModule of the user's own takes the place of whole groups.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from gradloop.config.conf_folder import conf_folder, read_choice
from gradloop.config.signature import is_below
from gradloop.config.targets import handed_on, locate
from gradloop.errors import ConfigError
from gradloop.process import collector_at_rest

Values = dict[str, Any]
# of groups whose class the command line may replace: what gradloop takes, not the class
OWN_KNOBS = {"model": (), "optimizer": ("groups", "_partial_"), "scheduler": ("warmup", "_partial_")}
REPLACED = ("model", "loss", "optimizer", "scheduler")
# what gradloop's own training does, and does not do for another
NOT_DONE = ("epoch_metrics", "metrics", "channels_last", "compile", "test_time_flip", "test_time_shift", "init_from")


def target_of(values: Mapping[str, Any]) -> str | None:
    """Return the target of the user's own LightningModule; None for gradloop's own training."""
    return (values.get("module") or {}).get("_target_")


def settle_module(values: Values, config: DictConfig, reference: DictConfig, parsed: Sequence[Override]) -> None:
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


def only_what_is_taken(values: Values, given: Collection[str], reference: DictConfig) -> None:
    """Where the command line names another class, take away the knobs that the YAML file gave to the one before.

    given: the keys of the command line. reference: what the files say.
    """
    for group, kept in OWN_KNOBS.items():
        if f"{group}._target_" in given and _is_another(group, values, reference):
            values[group] = {k: v for k, v in values[group].items() if k in kept or f"{group}.{k}" in given}


def _is_another(group: str, values: Values, reference: DictConfig) -> bool:
    """Whether a group's class is another than its file names: to name that is to allow it."""
    return OmegaConf.select(reference, f"{group}._target_") != values[group]["_target_"]


def data_as_taken(values: Values, given: Collection[str], reference: DictConfig, allow: tuple[str, ...]) -> None:
    """The same of the data, whose class tells what it takes; refuse an augmentation or folds that it does not."""
    if "data._target_" not in given or not _is_another("data", values, reference):
        return
    with collector_at_rest():
        found = locate("data._target_", values["data"]["_target_"], allow)
    ours = next((base for base in getattr(found, "__mro__", ()) if base.__module__.startswith("gradloop.")), None)
    known, theirs = (handed_on(found), handed_on(ours)) if ours is not None else ({}, {})
    asked = (name for name, parameter in known.items() if name in theirs or parameter.default is parameter.empty)
    own = {"_target_", "seed", *asked}  # a knob with a default of its own keeps that
    taken = {key: v for key, v in values["data"].items() if f"data.{key}" in given or key in own}
    for name, said in _asked_of_data(values, reference).items():
        if name in values["data"] and name not in taken:
            raise ConfigError(f"{said}: data._target_={taken['_target_']} takes no {name}")
    values["data"] = taken


def check_handed(config: DictConfig, values: Values, reference: DictConfig) -> None:
    """Raise ConfigError for an augmentation or folds that are asked for and that nothing hands to the data."""
    choices = OmegaConf.select(reference, "hydra.runtime.choices") or {}
    for name, said in _asked_of_data(values, reference).items():
        if f"${{{name}" in OmegaConf.to_yaml(config):
            continue
        data = choices.get("data") or values.get("data", {}).get("_target_")
        files = sorted((conf_folder() / "data").glob("*.yaml"))
        takers = [path.stem for path in files if f"${{{name}}}" in path.read_text(encoding="utf-8")]
        raise ConfigError(f"{said}: data={data} takes no {name}; {', '.join(takers)} do")


def _asked_of_data(values: Values, reference: DictConfig) -> dict[str, str]:
    """Return which of augmentation and folds are asked for, and how that is said."""
    given, choices = values.get("augmentation"), OmegaConf.select(reference, "hydra.runtime.choices") or {}
    asked = {}
    if given is not None and given != read_choice("augmentation", "none"):
        choice = choices.get("augmentation")
        asked["augmentation"] = f"augmentation={choice}" if choice not in (None, "none") else "augmentation"
    if values.get("folds") is not None:
        asked["folds"] = f"folds={values['folds']}"
    return asked
