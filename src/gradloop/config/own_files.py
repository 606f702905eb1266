"""A user's own YAML files are held against gradloop's: what these don't name means nothing."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf, open_dict

from gradloop.config.conf_folder import choice_file, choices_in, conf_folder, read_choice
from gradloop.errors import ConfigError, did_you_mean

# groups of settings that no target takes: nobody else would notice a key that means nothing
SETTINGS = ("sweep", "augmentation")
FREE = ("search_space",)  # of a sweep: any key of the config


def without_own_files(composed: DictConfig, config_name: str) -> DictConfig:
    """Return the reference `composed` as gradloop's own files alone make it; call inside Hydra's initialization.

    A group's choice that is the user's own stays as it is: it is the only one that says what its target takes, but
    for the kinds of values that a file of gradloop's with the same target has.
    """
    if not choice_file("", config_name).is_file():
        config_name = "train"
    base = compose(config_name, return_hydra_config=True)
    if not base.keys() <= composed.keys():
        return composed  # the user's own config for a command other than gradloop-train
    known, choices = base.hydra.runtime.choices, composed.hydra.runtime.choices
    chosen = {group: choices[group] for group in known if choices.get(group) is not None}
    own = {group for group, choice in chosen.items() if not _is_ours(group, choice)}
    lines = [f"{group}={choice}" for group, choice in chosen.items() if group not in own and choice != known[group]]
    reference = compose(config_name, lines, return_hydra_config=True)
    with open_dict(reference):
        for group in own & reference.keys():
            reference[group] = composed[group]
            if OmegaConf.is_dict(reference[group]):
                known = shipped(group, reference[group].get("_target_"))
                reference[group].update({key: value for key, value in known.items() if key in reference[group]})
        for group in (known.keys() - choices.keys()) & reference.keys():  # a list of choices, `[default,ema]`
            reference[group] = OmegaConf.merge(composed[group], reference[group])
        reference.hydra = composed.hydra
    return reference


@cache
def shipped(group: str, target: Any) -> dict[str, Any]:
    """Return the plain values of the first file of gradloop's with a target."""
    folder = conf_folder() / group
    found = (read_choice(group, name) for name in (choices_in(folder) if target is not None else ()))
    values = next((each for each in found if each.get("_target_") == target), {})
    return {k: v for k, v in values.items() if isinstance(v, bool | int | float)}


def check_keys(config: DictConfig, values: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse what no YAML file of gradloop's names: at the top level, and in groups that no target takes.

    A key that the user's own files define and refer to (`${width}`) means something.
    """
    unknown = sorted(values.keys() - expected.keys(), key=list(values).index)
    used = set(re.findall(r"\$\{(\w+)", OmegaConf.to_yaml(config))) if unknown else set()
    chosen = OmegaConf.select(config, "hydra.runtime.choices") or {}
    for key in unknown:
        if key not in used:
            if chosen.get(key):  # an experiment's values lie below the group's name
                file = f"{key}/{chosen[key]}.yaml"
                raise ConfigError(f"{file}: its first line has to be '# @package _global_', for its keys to count")
            hint = did_you_mean(key, expected) or " or group"
            raise ConfigError(f"{_where(config, key)}'{key}': no such key{hint}")
    for key in expected.keys() - values.keys():
        raise ConfigError(f"'{key}': can't be taken away; give it a value with {key}=…")
    given: dict[str, Any] = {group: values.get(group) for group in SETTINGS}
    data = values.get("data")
    if isinstance(data, dict) and str(data.get("_target_")).startswith("gradloop."):
        given["data.augmentation"] = data.get("augmentation")
    for path, held in given.items():
        group = path.rpartition(".")[2]
        known = expected.get(group)
        if not _is_ours(group, chosen.get(group)):  # then what any choice of gradloop's holds
            every = [read_choice(group, name) for name in choices_in(conf_folder() / group)]
            known = OmegaConf.to_container(OmegaConf.merge(*every))
        if isinstance(held, dict) and isinstance(known, dict):
            _check_settings(config, group, held, known, path)


def _check_settings(config: DictConfig, group: str, values: dict[str, Any], known: dict[str, Any], path: str) -> None:
    for name, value in values.items():
        if name not in known:
            there_are = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"{_where(config, group, name)}'{path}.{name}': no such key in {path}{there_are}")
        if isinstance(value, dict) and isinstance(known[name], dict) and name not in FREE:
            _check_settings(config, group, value, known[name], f"{path}.{name}")


def _where(config: DictConfig, key: str, inner: str | None = None) -> str:
    """Return "<file>: " for the user's own file that brought a key in, if there is one."""
    chosen = {str(choice).rpartition("/")[2] for choice in config.hydra.runtime.choices.values()}
    at_the_top = re.compile(rf"^{re.escape(key)}\s*:", re.M)
    below = re.compile(rf"\b{re.escape(inner)}\s*:" if inner else "")
    in_its_group = re.compile(rf"^{re.escape(inner or key)}\s*:", re.M)
    for source in config.hydra.runtime.config_sources:
        files = Path(source.path).rglob("*.yaml") if source.provider.endswith("command-line") else ()
        # a file that was chosen says more than another that holds the same key
        for path in sorted(files, key=lambda path: (path.stem not in chosen, path)):
            text = path.read_text(errors="replace")
            if (at_the_top.search(text) and below.search(text)) or (
                inner and path.parent.name == key and in_its_group.search(text)
            ):
                return f"{path}: "
    return ""


def _is_ours(group: str, name: Any) -> bool:
    return group.startswith("hydra") or choice_file(group, name).is_file()
