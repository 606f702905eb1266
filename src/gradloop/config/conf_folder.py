"""Where the YAML files are, and what single ones say."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from gradloop.errors import ConfigError

NAME = re.compile(r"\w[\w-]*(/\w[\w-]*)*")  # of a main config


def conf_folder() -> Path:
    """Return the folder of the configs: the clone's own `conf/`, or the copy that travels inside a wheel."""
    package = Path(__file__).resolve().parents[1]
    root = package.parents[1]
    if (root / "pyproject.toml").is_file() and (root / "conf" / "train.yaml").is_file():
        return root / "conf"
    return package / "conf"


def choice_file(group: str, choice: Any) -> Path:
    """Return where gradloop has a group's choice, if it has it. group: "" for a config at the top."""
    return conf_folder() / group.partition("@")[0] / f"{choice}.yaml"


def choices_in(folder: Path) -> dict[str, Path]:
    """Return the YAML files of a group's folder by name, experiments in folders of their own too: `lesson/…`."""
    pattern = "**/*.yaml" if folder.name == "experiment" else "*.yaml"
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.glob(pattern))}


def main_config(given: str | None, own: str) -> str:
    """Return the config of `--config-name`, or a command's own; that of another command asks for other keys."""
    if given == "" or given in choices_in(conf_folder()).keys() - {own}:
        raise ConfigError(f"--config-name={given}: expected {own}, or a config of yours in --config-dir")
    return given or own


def own_main(name: str, config_dir: str | None) -> Any:
    """Return the user's own main config of that name, if there is one and gradloop has none.

    Raises ConfigError for a name that would lead elsewhere, and for a file from which Hydra would take further places
    to look in: packages are among them, which it imports.
    """
    from omegaconf import OmegaConf

    if not NAME.fullmatch(name):
        raise ConfigError(f"--config-name={name}: expected the name of a config of yours in --config-dir")
    if config_dir is None or choice_file("", name).is_file():
        return None
    file = Path(config_dir).absolute() / f"{name}.yaml"
    config = OmegaConf.load(file) if file.is_file() else None
    if config is not None and (places := OmegaConf.select(config, "hydra.searchpath")) is not None:
        raise ConfigError(
            f"{file}: hydra.searchpath={places}: not done here: --config-dir=<folder> adds your own configs"
        )
    return config


def choices_of(group: str, config_dir: str | None) -> list[str]:
    """Return a group's choices, gradloop's and the user's own."""
    folders = [conf_folder() / group, *([Path(config_dir) / group] if config_dir is not None else [])]
    return sorted({name for folder in folders for name in choices_in(folder)})


@cache
def read_choice(group: str, choice: Any) -> dict[str, Any]:
    """Return a YAML file's content over that of the choices which it starts from, nothing resolved."""
    from omegaconf import OmegaConf  # not for `--help`, which asks for the folder alone

    file = choice_file(group, choice)
    if not file.is_file():
        return {}
    own = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(own, dict)
    bases = [name for name in own.pop("defaults", []) if isinstance(name, str) and name != "_self_"]
    merged = OmegaConf.merge(*(read_choice(group, name) for name in bases), own)
    return OmegaConf.to_container(merged)  # type: ignore[return-value]
