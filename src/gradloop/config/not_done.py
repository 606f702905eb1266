"""Hydra's own settings: what a command would not do is refused, and so is what a stranger's config may not do."""

import os
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from gradloop.config.signature import entries, is_below
from gradloop.errors import ConfigError

# Hydra's key -> its value where it does nothing, and why there is no other
ALWAYS: dict[str, tuple[Any, str]] = {
    "hydra.job.chdir": (False, "a run does not change the working directory; give it absolute paths"),
    "hydra.verbose": (False, "a run writes train.log; HYDRA_FULL_ERROR=1 shows an error's traceback"),
    "hydra.output_subdir": (None, "a run writes its own .hydra folder"),
    "hydra.mode": (None, "-m makes a sweep"),
    "hydra.searchpath": ([], "--config-dir=<folder> adds your own configs"),
    "hydra.sweep.subdir": ("${hydra.job.num}", "a sweep numbers its runs' folders"),
}
SWEEPS = ("seeds", "sweep", "hydra.sweep", "hydra.sweeper", "hydra/sweeper", "hydra.launcher", "hydra/launcher")
OF_SWEEPS = ("hydra.sweep.dir", "hydra/launcher", "hydra.launcher", "hydra.sweeper.params", "hydra.job.name",
             "hydra.job.config")  # fmt: skip
FOLDER = ("hydra.run.dir", "hydra.job.name", "hydra.job.config")  # what names a run's folder

# Hydra itself looks launchers and sweepers up among the installed plugins, and calls nothing else by these names
PLUGINS = ("hydra.launcher._target_", "hydra.sweeper._target_")
HARMLESS = ("hydra.experimental.callbacks.LogJobReturnCallback",)
LOGGING = ("hydra.job_logging", "hydra.hydra_logging")
LOG_CLASSES = ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.Formatter")
LOG_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
COMMANDS = ("hydra.launcher.setup", "hydra.launcher.additional_parameters")  # a cluster runs them
SUBMITIT = "hydra.launcher.submitit_folder"
RUN = "/the/folder/of/a/run"  # stands for it while nothing is claimed yet


def refuse_not_done(parsed: Sequence[Override], config: DictConfig, *, command: str = "train") -> None:
    """Raise ConfigError for a setting of Hydra's, or of a sweep's, that the command would ignore.

    command: train, sweep (gradloop-train -m), or another that makes no run.
    """
    node: Any = OmegaConf.to_container(config.hydra, resolve=False)
    held = {path: value for path, _, value in entries(node, "hydra")}
    for key, (nothing, why) in ALWAYS.items() if command in ("train", "sweep") else ():
        if (value := held.get(key)) not in (nothing, None):
            raise ConfigError(f"{key}={value}: not done here: {why}")
    folds = config.get("folds") if command == "train" else None
    if folds is not None and "folds" in config.data and config.data.get("fold") is None:
        raise ConfigError(f"folds={folds}: a run for each of them; add -m, or take one with data.fold=0")
    folders = f"{node['run']['dir']} {node['sweep']['dir']}"
    for override in parsed:
        key, line = override.key_or_group, override.input_line
        hydras = key.startswith(("hydra.", "hydra/"))
        if command in ("train", "sweep") and key == "hydra.job.name" and "hydra.job." not in folders:
            raise ConfigError(f"{line}: names no folder here; name=… does, or ${{hydra.job.name}} in hydra.run.dir=…")
        if command == "train" and is_below(key, SWEEPS) and (override.is_delete() or override.value() is not None):
            raise ConfigError(f"{line}: belongs to a sweep; add -m")
        if command == "sweep" and is_below(key, ("hydra.run",)):
            raise ConfigError(f"{line}: a sweep has hydra.sweep.dir=…, and numbers its runs' folders")
        if command == "sweep" and hydras:
            if override.is_sweep_override() and not is_below(key, tuple(ALWAYS)):
                raise ConfigError(f"{line}: belongs to the sweep and can't be varied")
            if not is_below(key, (*OF_SWEEPS, *ALWAYS)):
                raise ConfigError(
                    f"{line}: not done here; of Hydra's settings a sweep takes {', '.join(OF_SWEEPS[:3])}"
                )
        if command not in ("train", "sweep") and hydras:
            raise ConfigError(f"{line}: gradloop-{command} makes no run, and takes nothing of Hydra's")
        if command == "train" and hydras and not is_below(key, (*FOLDER, *ALWAYS)):
            raise ConfigError(f"{line}: not done here; of Hydra's settings a run takes hydra.run.dir")


def check_hydra_node(config: DictConfig) -> None:
    """Refuse what Hydra or `logging.config` would call that is no launcher, sweeper or plain log handler.

    Refused as well: another environment for the jobs, files outside of a run's folder, and a launcher's commands
    that the command line does not give itself. config: the whole of it, with Hydra's node.
    """
    hydra: Any = OmegaConf.to_container(config.hydra, resolve=False)
    for path, name, value in entries(hydra, "hydra"):
        _check(path, name, value)
    for key in ("env_set", "env_copy"):
        if value := hydra["job"].get(key):
            raise ConfigError(f"hydra.job.{key}={_shown(value)}: refused; set the environment before the command")
    given = {line.lstrip("+").split("=")[0] for line in hydra["overrides"]["hydra"]}
    for name in COMMANDS:
        value = (hydra.get("launcher") or {}).get(name.rpartition(".")[2])
        if value and not any(is_below(key, [name]) for key in given):
            raise ConfigError(f"{name}={_shown(value)}: refused, only the command line names commands")
    _check_places(config, hydra)


def _check_places(config: DictConfig, hydra: dict[str, Any]) -> None:
    """Refuse files that would lie outside of the folder of a run or sweep."""
    names = [
        f"{group}.handlers.{name}.filename"
        for group in LOGGING
        for name, handler in ((hydra.get(group.partition(".")[2]) or {}).get("handlers") or {}).items()
        if handler.get("class") == "logging.FileHandler"
    ]
    names += [SUBMITIT] if "submitit_folder" in (hydra.get("launcher") or {}) else []
    names += ["hydra.output_subdir"] if hydra.get("output_subdir") is not None else []
    if not names:
        return
    placed = deepcopy(config)
    OmegaConf.set_readonly(placed.hydra, False)
    placed.hydra.runtime.output_dir = placed.hydra.sweep.dir = RUN
    for name in names:
        place = str(OmegaConf.select(placed, name))
        path = os.path.normpath(os.path.join(RUN, place) if name == "hydra.output_subdir" else place)
        if not path.startswith(f"{RUN}/"):
            raise ConfigError(f"{name}={place.replace(RUN, '')}: expected a place inside the run's own folder")


def _shown(value: Any) -> str:
    return str(value).replace("'", "")[:100]


def _check(path: str, name: str, value: Any) -> None:
    logs = path.startswith(LOGGING)
    if name == "_target_":
        plugin = path in PLUGINS and str(value).startswith(("hydra_plugins.", "hydra."))
        refused = not (plugin or value is None or value in HARMLESS)
    else:  # logging.config calls what these name
        refused = logs and (name == "()" or (name == "class" and value not in LOG_CLASSES))
    if refused:
        raise ConfigError(f"{path}={value}: refused, configs may not call this")
    if logs and isinstance(value, str) and value.startswith("ext://") and value not in LOG_STREAMS:
        raise ConfigError(f"{path}={value}: refused, expected {' or '.join(LOG_STREAMS)}")
