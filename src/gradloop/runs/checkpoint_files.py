"""Checkpoint files that are whole or absent, and that are never trusted."""

import os
import re
import zipfile
from pathlib import Path
from typing import Any

from gradloop.errors import CheckpointError

# newest first: what `resume` tries
RESUMABLE = ("last.ckpt", "previous.ckpt")
# groups that a checkpoint holds
RECIPE = {
    "gradloop": ("recipe",),
    "gradloop.recipe": ("config", "facts", "preprocessing"),
    "gradloop.recipe.config": ("data", "model", "loss", "optimizer", "scheduler", "trainer", "callbacks", "logger"),
}
WRITTEN_IN = ("checkpoints", ".hydra", "explain", "export", "profile")  # and in the run's folder itself
TEMPORARY = re.compile(
    r"((last|previous|best(_\d+)?)\.ckpt|(summary|evaluation|explain)\.json|(config|overrides)\.yaml|operators\.txt"
    r"|(metrics|predictions|most_wrong|features|inputs_attributions)\.csv|trace\.json\.gz"
    r"|model\.(onnx|pt2|safetensors)(\.json)?|report\.html|README\.md|\w+\.png)\.(?P<owner>\d{1,9})\.tmp"
)


def keep_previous(path: Path, previous: Path) -> None:
    """Give the file under `path` a second name, so that replacing it loses nothing."""
    link = previous.with_name(f"{previous.name}.{os.getpid()}.tmp")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        os.replace(link, previous)
    except OSError:
        link.unlink(missing_ok=True)  # no checkpoint yet, or a file system without hard links


def sweep_temporaries(folder: Path) -> None:
    """Remove what killed processes left half written in a run's folder.

    Only what bears a name that a run's own files get while they are written: `<name>.<process>.tmp`.
    """
    for place in (folder, *(folder / name for name in WRITTEN_IN)):
        for path in place.glob("*.tmp") if not place.is_symlink() else ():
            known = TEMPORARY.fullmatch(path.name)
            if known is None or path.is_symlink() or not path.is_file():
                continue
            owner = int(known["owner"])
            # an id is given out again: nothing of this process is half written yet
            if owner == os.getpid() or not process_exists(owner):
                path.unlink(missing_ok=True)


def process_exists(pid: int) -> bool:
    """Return whether this machine has a process of that id, whoever owns it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of gradloop; raise CheckpointError with what is wrong with it."""
    checkpoint = read_archive(path)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint or "gradloop" not in checkpoint:
        raise CheckpointError(f"{path}: not a checkpoint of gradloop (it has no 'state_dict' and 'gradloop' parts)")
    check_recipe(path, checkpoint)
    return checkpoint


def read_archive(path: Path) -> Any:
    """Load what torch saved as plain data (`weights_only=True`); raise CheckpointError with what is wrong with it.

    torch.load does not look at the archive's checksums: a flipped bit in a weight would go unnoticed.
    """
    import torch

    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    if path.is_dir():
        raise CheckpointError(f"{path}: a folder, not a checkpoint file")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: an empty file, not a checkpoint")
    try:
        with open(path, "rb") as file:
            is_archive = zipfile.is_zipfile(file)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from error
    if not is_archive:
        raise CheckpointError(f"{path}: not a checkpoint, or only a part of one ({path.stat().st_size} bytes)")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from error
    if damaged:
        raise CheckpointError(f"{path}: damaged: the checksum of {damaged} is wrong")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what it likes on foreign files
        raise CheckpointError(f"{path}: refused, not a checkpoint of plain tensors: {_holds(path, error)}") from error


def _holds(path: Path, error: Exception) -> str:
    """Return what a file holds that is refused. torch's own words advise to trust it, in colours."""
    import torch

    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # as above
        names = []
    return f"it holds {', '.join(sorted(names))}" if names else type(error).__name__


def check_recipe(path: Path, checkpoint: dict[str, Any]) -> None:
    """Raise CheckpointError where a checkpoint does not hold what a run is built from."""
    parts: dict[str, Any] = {"state_dict": checkpoint["state_dict"], "gradloop": checkpoint["gradloop"]}
    for group, names in RECIPE.items():
        inner = parts[group]
        parts |= {f"{group}.{name}": inner.get(name) if isinstance(inner, dict) else None for name in names}
    for key, value in parts.items():
        if not isinstance(value, dict):
            raise CheckpointError(f"{path}: {key}={str(value)[:80]}: expected a group of values")


def newest_intact(folder: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """Return the newest usable checkpoint of a run to go on from, its content, and what was wrong with newer ones."""
    problems: list[str] = []
    for name in RESUMABLE:
        try:
            return folder / name, read_checkpoint(folder / name), problems
        except CheckpointError as error:
            problems.append(str(error))
    raise CheckpointError(f"{folder}: no checkpoint to resume from: {'; '.join(problems)}")
