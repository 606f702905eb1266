"""Where a run lives."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from gradloop.errors import CheckpointError, ConfigError

INSIDE = 200  # characters that the paths inside a run's folder may take
LOCK = ".lock"


def lock_of(folder: Path) -> FileLock:
    """Return the one lock of a run that this process has: taken twice, it is given back at the second release.

    Whoever works on the run holds it, from before the record says "running" until it says how the run ended. It is
    the operating system's: a killed process holds none.
    """
    return FileLock(folder / LOCK, is_singleton=True)


def is_alive(folder: Path) -> bool:
    """Return whether a process, on whichever machine, works on the run."""
    lock = folder / LOCK
    if lock.is_symlink() or not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # somebody else's
        return False


def is_inside(folder: Path, path: Path) -> bool:
    """Return whether `path`, with its links followed, lies in `folder` or is it."""
    return path.resolve().is_relative_to(folder.resolve())


def check_own(folder: Path) -> None:
    """Raise CheckpointError where a run's or sweep's folder holds a link that leads out of it, or no regular file.

    Whoever made the folder may have put them there: writing and deleting would reach what is not the run's.
    """
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent) / name for name in [*folders, *files]):
            if path.is_symlink():
                if path.name.endswith(".lock"):
                    raise CheckpointError(f"{path}: a link, to {os.readlink(path)}; a lock is a file: remove it")
                if not _leads_inside(folder, path):
                    raise CheckpointError(
                        f"{path}: a link out of the folder, to {os.readlink(path)}; nothing is written through it: "
                        "remove it, or put what it leads to in its place"
                    )
            elif path.exists() and not (path.is_file() or path.is_dir()):
                raise CheckpointError(f"{path}: neither a file nor a folder; remove it")


def _leads_inside(folder: Path, link: Path) -> bool:
    try:
        return is_inside(folder, link)
    except (OSError, RuntimeError):  # links in a circle
        return False


def claim_folder(path: Path) -> Path:
    """Make a folder that no other run has, and return it: `path`, or `path_2`, `path_3`, …

    Two runs of the same second get two folders: making one is atomic.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            candidate = path if number == 1 else path.with_name(f"{path.name}_{number}")
            try:
                candidate.mkdir()
                return candidate
            except FileExistsError:
                number += 1
    except OSError as error:
        raise CheckpointError(f"{path}: can't make the run's folder: {error.strerror}") from error


def check_own_place(key: str, path: str, of: str) -> None:
    """Raise ConfigError where a new run or sweep (`of`) would lie in the current folder itself, or around it."""
    here = os.path.abspath(path)
    if not path.strip() or Path(here) in (Path.cwd(), *Path.cwd().parents):
        raise ConfigError(f"{key}={path}: expected a folder of the {of}'s own")


def check_writable(path: Path) -> None:
    """Raise CheckpointError if a folder can't be made at `path`, or its files not inside; create nothing."""
    parent = next(folder for folder in (path, *path.parents) if os.path.exists(folder))
    if hasattr(os, "pathconf"):
        longest = max(len(os.fsencode(part)) for part in path.parts)
        room = os.pathconf(parent, "PC_PATH_MAX") - INSIDE
        if longest > os.pathconf(parent, "PC_NAME_MAX") or len(os.fsencode(path)) > room:
            shown = f"{str(path)[:60]}…{str(path)[-30:]}"
            raise CheckpointError(
                f"{shown}: can't make the run's folder: {len(str(path))} characters are more than this system takes"
            )
    if not parent.is_dir():
        raise CheckpointError(f"{path}: can't make the run's folder: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise CheckpointError(f"{path}: can't make the run's folder: {parent} is not writable")


def made(folder: Path) -> Path:
    """Return a folder, made if it was not there; raise CheckpointError where it can't be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: can't make the folder: {error.strerror}") from error
    return folder


def write_atomically(path: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file so that under its name there is always a whole one: temporary beside it, sync, rename, sync.

    content: what it holds, or what writes it to the path that it is given. A killed process leaves the old file or
    the new one, never half of one. (Lightning's own atomic save stages in the temporary folder, and a rename across
    file systems is a copy that can be cut short.)
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if path.is_dir():  # whatever that is, it stays
            path.rename(path.with_name(f"{path.name}.moved_{os.getpid()}"))
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise CheckpointError(f"{path}: can't write: {error.strerror}; what was there is untouched") from error
    finally:
        with contextlib.suppress(OSError):  # it is a disk to read alone, say
            temporary.unlink(missing_ok=True)  # gone already, if it was renamed


def _sync(folder: Path) -> None:
    """Make a rename survive a power cut (a no-op where folders can't be opened)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
