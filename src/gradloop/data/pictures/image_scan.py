"""What lies in a folder of classes: names, sizes and times, nothing opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from gradloop.errors import DataError, did_you_mean

LEFT_BY_OTHERS = ("__MACOSX", "__pycache__")  # folders that are nobody's class
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jfif")
# sub-folders that are parts, not classes, if there is one for training
PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
NOWHERE, NO_FILE = -1, -2  # as sizes: what is no file (a pipe, a socket, a device) would be waited for


class PictureFile(NamedTuple):
    """One file: its name from the root on, its class and part, and what tells whether it has changed."""

    name: str
    label: int
    part: str  # "" if the root's folders are the classes
    size: int  # bytes; NOWHERE for a link that leads nowhere
    modified: int  # nanoseconds


@dataclass(frozen=True)
class Scan:
    """Everything in a folder, in an order that only the names decide."""

    root: Path
    class_names: tuple[str, ...]
    files: tuple[PictureFile, ...]
    others: tuple[str, ...]  # the suffixes of files that are no pictures, one a file
    empty: tuple[str, ...]  # class folders without a picture

    def without_empty(self) -> Scan:
        """Return the same without the classes that have no picture."""
        names = tuple(name for name in self.class_names if name not in self.empty)
        label = {self.class_names.index(name): new for new, name in enumerate(names)}
        files = tuple(file._replace(label=label[file.label]) for file in self.files)
        return replace(self, class_names=names, files=files, empty=())


def scan(root: str | Path) -> Scan:
    """Look through `root`/<class>/…/<picture>, or `root`/train|val|test/<class>/…; else raise `DataError`."""
    path = Path(os.path.expanduser(root))
    expected = f"expected a folder with one folder of pictures for each class, as in {path}/cat/1.jpg"
    if not path.exists():
        raise DataError(f"data.root={root}: no such folder; {expected}")
    if not path.is_dir():
        raise DataError(f"data.root={root}: is a file; {expected}")
    try:
        folders = _folders(path)
        parts = {name: PARTS[name.lower()] for name in folders if name.lower() in PARTS}
        if len(parts) == len(folders) and "train" in parts.values():
            places = [(part, name) for name, part in parts.items()]
        else:
            if len(parts) == len(folders) > 1 and all(_folders(path / name) for name in parts):
                raise DataError(f"data.root={root}: {few(folders)} are parts, and there is none for training (train)")
            _refuse_half(root, path, parts, folders)
            places = [("", "")]
        classes = sorted({name for _, place in places for name in _folders(path / place)})
        files: list[PictureFile] = []
        others: list[str] = []
        for part, place in places:
            for label, name in enumerate(classes):
                folder = os.path.join(place, name)
                if not (path / folder).is_dir():
                    continue
                for inner, size, modified in _walk(path / folder, folder, set()):
                    if size == NO_FILE or not inner.lower().endswith(SUFFIXES):
                        others.append(os.path.splitext(inner)[1].lower())
                    else:
                        files.append(PictureFile(inner, label, part, size, modified))
    except PermissionError as error:
        raise DataError(f"data.root={root}: {error.filename} can't be read (permission denied)") from error
    if not classes:
        inside = [name for _, place in places for name in os.listdir(path / place)]
        loose = sum(name.lower().endswith(SUFFIXES) for name in inside)
        found = f"holds {loose} pictures but no class folders" if loose else "is empty"
        raise DataError(f"data.root={root}: {found}; {expected}")
    if not files:
        raise DataError(
            f"data.root={root}: {len(classes)} folders ({few(classes)}) without a picture;"
            f" {expected} ({', '.join(SUFFIXES)})"
        )
    present = {file.label for file in files}
    empty = tuple(name for label, name in enumerate(classes) if label not in present)
    return Scan(path, tuple(classes), tuple(files), tuple(others), empty)


def _refuse_half(root: str | Path, path: Path, parts: dict[str, str], folders: list[str]) -> None:
    """Raise `DataError` where some folders are parts and others are none: they are hardly classes side by side."""
    training = next((name for name, part in parts.items() if part == "train"), None)
    if training is None or not _folders(path / training):
        return
    if any(name.lower().endswith(SUFFIXES) for name in os.listdir(path / training)):
        return  # a class that is called so
    odd = next(name for name in folders if name not in parts)
    near = did_you_mean(odd, [name for name, part in PARTS.items() if part not in parts.values()])
    near = near or f"; as a class, '{training}' holds its pictures itself"
    raise DataError(f"data.root={root}: '{training}' is a part, and '{odd}' is none (train, val, test){near}")


def _folders(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        seen = [entry.name for entry in entries if _is_folder(entry)]
    return sorted(name for name in seen if not name.startswith(".") and name not in LEFT_BY_OTHERS)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _walk(path: Path | str, name: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, int, int]]:
    """Yield (name from the root on, bytes, time) of every file below, sorted; links are followed."""
    place = os.stat(path)
    if (place.st_dev, place.st_ino) in seen:
        return
    seen.add((place.st_dev, place.st_ino))
    with os.scandir(path) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        inner = f"{name}/{entry.name}"
        if _is_folder(entry):
            yield from _walk(entry.path, inner, seen)
            continue
        try:
            facts = entry.stat()
        except OSError:  # a link that leads nowhere
            yield inner, NOWHERE, 0
        else:
            # a file that is moved over another keeps its own time of writing, not that of its change
            changed = max(facts.st_mtime_ns, facts.st_ctime_ns)
            yield inner, facts.st_size if stat.S_ISREG(facts.st_mode) else NO_FILE, changed


def few(names: list[str] | tuple[str, ...]) -> str:
    """Return the first three names and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
