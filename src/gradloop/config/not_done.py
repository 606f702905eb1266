"""What Hydra's grammar takes and a command would not do: refused, instead of ignored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from gradloop.errors import ConfigError

# Hydra's key -> its value where it does nothing, and why there is no other
ALWAYS: dict[str, tuple[Any, str]] = {
    "hydra.job.chdir": (False, "a run does not change the working directory; give it absolute paths"),
    "hydra.verbose": (False, "a run writes train.log; HYDRA_FULL_ERROR=1 shows an error's traceback"),
    "hydra.output_subdir": (None, "a run writes its own .hydra folder"),
    "hydra.mode": (None, "-m makes a sweep"),
    "hydra.sweep.subdir": ("${hydra.job.num}", "a sweep numbers its runs' folders"),
}
SWEEPS = ("seeds", "sweep", "hydra.sweep", "hydra.sweeper", "hydra/sweeper", "hydra.launcher", "hydra/launcher")
FOLDER = ("hydra.run.dir", "hydra.job.name", "hydra.job.config")  # what names a run's folder


def refuse_not_done(parsed: Sequence[Override], config: DictConfig, *, command: str = "train") -> None:
    """Raise ConfigError for a setting of Hydra's, or of a sweep's, that the command would ignore.

    command: train, sweep (gradloop-train -m), or another that makes no run.
    """
    node = OmegaConf.to_container(config.hydra, resolve=False)
    for key, (nothing, why) in ALWAYS.items() if command in ("train", "sweep") else ():
        value: Any = node
        for name in key.split(".")[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        if value not in (nothing, None):
            raise ConfigError(f"{key}={value}: not done here: {why}")
    for override in parsed:
        key, line = override.key_or_group, override.input_line
        if command == "train" and _below(key, SWEEPS) and not _says_nothing(override):
            raise ConfigError(f"{line}: belongs to a sweep; add -m")
        if command == "sweep" and _below(key, ("hydra.run",)):
            raise ConfigError(f"{line}: a sweep has hydra.sweep.dir=…, and numbers its runs' folders")
        if command not in ("train", "sweep") and key.startswith(("hydra.", "hydra/")):
            raise ConfigError(f"{line}: gradloop-{command} makes no run, and takes nothing of Hydra's")
        hydras = key.startswith(("hydra.", "hydra/")) and not _below(key, (*FOLDER, *ALWAYS))
        if command == "train" and hydras:
            raise ConfigError(f"{line}: not done here; of Hydra's settings a run takes hydra.run.dir")


def _below(key: str, keys: Sequence[str]) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}/")) for name in keys)


def _says_nothing(override: Override) -> bool:
    return not override.is_delete() and override.value() is None
