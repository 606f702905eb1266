"""How Lightning reads and writes checkpoints here."""

import errno
import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from gradloop.errors import CheckpointError
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.folder import is_inside, write_atomically

PLAIN = (bool, int, float, str, type(None))
HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")  # Lightning's words; no run goes on from them


class CheckpointFiles(CheckpointIO):
    """Writes whole files or none, reads plain tensors only; writes and removes inside the run's folder alone.

    folder: the run's; None before it has one. in_memory: the checkpoint to go on from, which was read already.
    """

    def __init__(self, folder: Path | None = None, in_memory: dict[str, Any] | None = None) -> None:
        self.folder, self.in_memory = folder, in_memory

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self._check(Path(path))
        for name in HYPERPARAMETERS:  # a module's `save_hyperparameters` keeps networks and partials, too
            if name in checkpoint:
                kept = {key: value for key, value in dict(checkpoint[name]).items() if _is_plain(value)}
                checkpoint = checkpoint | {name: kept}

        def save(temporary: Path) -> None:
            try:
                torch.save(checkpoint, temporary)
                if not _is_plain(checkpoint):  # what could not be loaded again never takes the place of what can
                    torch.load(temporary, map_location="cpu", weights_only=True, mmap=True)  # mapped, not read
            except OSError:
                raise
            except Exception as error:  # pickle raises what it likes
                # torch's zip writer reports a full disk so
                if "file write failed" in str(error) or "unexpected pos" in str(error):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                refuse_unloadable(checkpoint)
                raise CheckpointError(f"{path}: can't be loaded again: {type(error).__name__}") from error

        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), save)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        if self.in_memory is not None:
            checkpoint, self.in_memory = self.in_memory, None
            return checkpoint
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        self._check(Path(path))
        Path(path).unlink(missing_ok=True)

    def _check(self, path: Path) -> None:
        """Refuse a path outside of the run: a resumed callback's state may hold one that a stranger has chosen."""
        if self.folder is not None and not is_inside(self.folder, path):
            raise CheckpointError(f"{path}: expected a place inside the run's folder, {self.folder}")


def _is_plain(value: Any) -> bool:
    """Return whether `torch.load(weights_only=True)` gives it back, as can be seen at a glance."""
    kind = type(value)
    if kind in (torch.Tensor, OrderedDict) and not _is_plain(vars(value)):  # a state_dict has its versions there
        return False
    if kind in (dict, OrderedDict):
        return all(type(name) in (str, int) and _is_plain(inner) for name, inner in value.items())
    if kind in (list, tuple):
        return all(map(_is_plain, value))
    return kind in PLAIN or (kind is torch.Tensor and value.layout is torch.strided)


def refuse_unloadable(content: dict[str, Any]) -> None:
    """Raise CheckpointError for state that `torch.load(weights_only=True)` would refuse; say where, of which type.

    content: as in a checkpoint: "callbacks" by their state key, "optimizer_states", "state_dict", ….
    """
    found = _unloadable("", content)
    if found is not None:
        raise CheckpointError(
            f"checkpoint: {found[0]} is a {found[1]}, which no checkpoint can give back: a resumed run loads "
            "tensors, numbers, texts, lists and dicts only; convert it where it is saved (float(…), .tolist())"
        )


def _unloadable(key: str, value: Any) -> tuple[str, str] | None:
    """Return (key, type) of the innermost part that can't be saved and loaded again; None if all can."""
    memory = io.BytesIO()
    try:
        torch.save(value, memory)
        memory.seek(0)
        torch.load(memory, map_location="cpu", weights_only=True)
        return None
    except Exception:  # pickle raises what it likes
        pass
    inner: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inner = [(f"{key}.{name}" if key else str(name), part) for name, part in value.items()]
        inner += [(f"a key of {key}", name) for name in value]
    elif isinstance(value, list | tuple):
        inner = [(f"{key}[{index}]", part) for index, part in enumerate(value)]
    for name, part in inner:
        if (found := _unloadable(name, part)) is not None:
            return found
    kind = type(value)
    return key, kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
