"""Which keys may be null although an experiment gives them a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from gradloop.config.conf_folder import conf_folder


def may_be_null(key: str, choices: Mapping[str, str]) -> bool:
    """Return whether the chosen YAML of the key's group says null, or `train.yaml` does for a key at the top.

    choices: group -> its choice. `data.seed` is looked up where `seed: ${seed}` in the YAML leads.
    """
    group, _, rest = key.partition(".")
    found: Any = read_choice(group, choices.get(group)) if rest else read_choice("", "train").get(key, "")
    names = rest.split(".") if rest else []
    for index, name in enumerate([*names, None]):
        if isinstance(found, str) and (link := re.fullmatch(r"\$\{([\w.]+)\}", found)):
            return may_be_null(".".join([link[1], *names[index:]]), choices)
        if name is None:
            return found is None
        if not isinstance(found, dict) or name not in found:
            return False
        found = found[name]
    return False


def read_choice(group: str, choice: Any) -> dict[str, Any]:
    """Return a YAML file's content over that of the choices which it starts from, nothing resolved."""
    file = conf_folder() / group / f"{choice}.yaml"
    if not file.is_file():
        return {}
    own = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(own, dict)
    bases = [name for name in own.pop("defaults", []) if isinstance(name, str) and name != "_self_"]
    merged = OmegaConf.merge(*(read_choice(group, name) for name in bases), own)
    return OmegaConf.to_container(merged)  # type: ignore[return-value]
