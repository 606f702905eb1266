"""What a class that a config names is handed of the config's keys, and what nothing would take."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gradloop.config.conf_folder import conf_folder, read_choice
from gradloop.config.targets import handed_on, locate
from gradloop.errors import ConfigError
from gradloop.process import collector_at_rest

Values = dict[str, Any]
# of groups whose class the command line may replace: what gradloop takes, not the class
OWN_KNOBS = {"model": (), "optimizer": ("groups", "_partial_"), "scheduler": ("warmup", "_partial_")}


def only_what_is_taken(values: Values, given: Collection[str]) -> None:
    """Where the command line names a class, take away the knobs that the YAML file gave to the one before.

    given: the keys of the command line.
    """
    for group, kept in OWN_KNOBS.items():
        if f"{group}._target_" in given:
            values[group] = {k: v for k, v in values[group].items() if k in kept or f"{group}.{k}" in given}


def data_as_taken(values: Values, given: Collection[str], reference: DictConfig, allow: tuple[str, ...]) -> None:
    """The same of the data, whose class tells what it takes; refuse an augmentation or folds that it does not."""
    if "data._target_" not in given:
        return
    with collector_at_rest():
        found = locate("data._target_", values["data"]["_target_"], allow)
    ours = any(base.__module__.startswith("gradloop.") for base in getattr(found, "__mro__", ()))
    own = {"_target_", "seed", *(handed_on(found) if ours else ())}
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
