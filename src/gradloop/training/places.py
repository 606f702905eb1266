"""Where the loggers, callbacks and profilers of a run write: inside its folder, whatever their parameters say."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.profilers import Profiler

from gradloop.config.targets import ROOTS, locate, parameters
from gradloop.errors import ConfigError
from gradloop.training.build import Builder

# what the libraries' objects say of themselves
SAID = ("save_dir", "root_dir", "log_dir", "dirpath", "ckpt_path", "exclude_batches_path")
METRICS = {"epoch": 0, "step": 0}


def check_places(key: str, parts: Iterable[Any], folder: Path) -> None:
    """Raise ConfigError for a built object that would write outside of `folder`, where relative places start.

    The user's own classes are the user's own business.
    """
    root = os.path.realpath(folder)
    for part in parts:
        if type(part).__module__.split(".")[0] not in ROOTS:
            continue
        for place in _places(part):
            path = os.path.realpath(os.path.normpath(os.path.join(root, place)))
            if "://" in place or not Path(path).is_relative_to(root):
                shown = place if "://" in place else os.path.relpath(path, root)
                what = f"{key}: {type(part).__name__} would write to {shown}"
                raise ConfigError(f"{what}: expected a place inside the run's own folder")


def check_trainer(trainer: pl.Trainer, folder: Path) -> None:
    """Check the places of a trainer's callbacks and profiler."""
    check_places("callbacks", trainer.callbacks, folder)
    check_places("trainer.profiler", [trainer.profiler], folder)


def check_loggers(build: Builder, group: dict[str, Any]) -> None:
    """Build each logger of a config for a folder that is thrown away, to see where it would write."""
    for name, entry in group.items():
        with tempfile.TemporaryDirectory() as folder:
            loggers = build.named("logger", in_place({name: entry}, folder, build))
            check_places(f"logger.{name}", loggers, Path(folder))


def in_place(group: dict[str, Any], folder: str, build: Builder) -> dict[str, Any]:
    """Return the loggers' entries with the folder that they write into, for those that ask for one."""
    found = {}
    for name, entry in group.items():
        if entry:
            named, others = parameters(locate(f"logger.{name}._target_", entry["_target_"], build.allow))
            asks = others or "save_dir" in named
        found[name] = entry | {"save_dir": folder} if entry and asks else entry
    return found


def move_into(folder: Path, trainer: pl.Trainer) -> None:
    """Let the relative folders of callbacks and the profiler start from the run's folder, not from where we stand."""
    for part in (*trainer.callbacks, trainer.profiler):
        place = getattr(part, "dirpath", None)
        if isinstance(part, pl.Callback | Profiler) and isinstance(place, str | os.PathLike):
            part.dirpath = str(folder / os.path.relpath(place, os.path.realpath(os.curdir)))
    check_trainer(trainer, folder)


def _places(part: Any) -> Iterator[str]:
    for name in SAID:
        place = getattr(part, name, None)
        if isinstance(place, str | os.PathLike) and os.fspath(place):
            yield os.fspath(place)
    if isinstance(part, ModelCheckpoint):
        yield os.path.join("checkpoints", part.format_checkpoint_name(METRICS))
