"""CIFAR-10's files: found, checked, downloaded and read through torchvision, one run at a time."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import calculate_md5, check_integrity, extract_archive
from torchvision.transforms.v2 import functional

from gradloop.data.pictures.picture_store import release_memory
from gradloop.errors import DataError

ARCHIVE_BYTES = {"cifar-10-python.tar.gz": 170_498_071}


class Cifar10Pictures:
    """The pictures of some of CIFAR-10's batch files, resized if asked: a `PictureSource`.

    Every file is read by torchvision's own class, one file at a time: once for the labels, which decide where each
    picture goes, and once for the pictures. Thus no more than one file's lie in memory beside their final place.
    """

    def __init__(self, archive: type[CIFAR10], root: Path, *, train: bool, size: tuple[int, int] | None) -> None:
        self.shape = (3, *(size or (32, 32)))
        self.size = size
        self.archive, self.root = archive, root
        self.entries = archive.train_list if train else archive.test_list
        labels = [label for entry in self.entries for label in self._read(entry).targets]
        self.targets = torch.tensor(labels)
        part = "train" if train else "test"
        self.names = [f"{part}_{row:05d}" for row in range(len(labels))]
        self._all: Tensor | None = None

    def _read(self, entry: list[str]) -> CIFAR10:
        """Return torchvision's data set of a single batch file; `ensure_files` has checked it already."""
        changes = {"train_list": [entry], "test_list": [], "_check_integrity": lambda self: True}
        one_file: Any = type(self.archive.__name__, (self.archive,), changes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, about arrays pickled long ago
            return one_file(str(self.root))

    def chunks(self) -> Iterator[Tensor]:
        for entry in self.entries:
            release_memory()  # unpickling takes three times a file's size for a moment
            for chunk in torch.from_numpy(self._read(entry).data).permute(0, 3, 1, 2).split(1000):
                yield self._resized(chunk)

    def __getitem__(self, rows: Tensor) -> Tensor:
        if self._all is None:
            self._all = torch.cat([torch.from_numpy(self._read(entry).data) for entry in self.entries])
        return self._resized(self._all[rows].permute(0, 3, 1, 2))

    def _resized(self, pictures: Tensor) -> Tensor:
        if self.size is None:
            return pictures
        return functional.resize(pictures, list(self.size), antialias=True)


def check_presence(archive: type[CIFAR10], root: Path, *, download: bool) -> None:
    """Raise `DataError` if neither the files nor the archive are in `root` and none may be downloaded."""
    if not download and not (root / archive.base_folder).exists() and not (root / archive.filename).exists():
        raise DataError(
            f"data.root={root}: nothing of CIFAR-10 found and data.download=false; {_remedy(archive, root)}"
        )


def ensure_files(archive: type[CIFAR10], root: Path, *, download: bool) -> None:
    """See to it that `root` holds every batch file, whole; else raise `DataError` with what was found.

    What is good is never touched. An archive is downloaded and unpacked beside its place and renamed when its
    checksum is right; a lock lets one run do it while others wait.
    """
    if _first_wrong(archive, root) is None:  # needs no permission to write
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".cifar10.lock"):
            _ensure_files(archive, root, download=download)
    except OSError as error:
        raise DataError(f"data.root={root}: {error.strerror or error}") from error


def _ensure_files(archive: type[CIFAR10], root: Path, *, download: bool) -> None:
    wrong = _first_wrong(archive, root)
    if wrong is None:
        return
    packed = root / archive.filename
    if packed.exists():
        if not check_integrity(str(packed), archive.tgz_md5):
            raise DataError(f"data.root={root}: {_found(packed)}; {_remedy(archive, root)}")
        _unpack(archive, packed, root)
    elif (root / archive.base_folder).exists():
        raise DataError(
            f"data.root={root}: {wrong}; remove {root / archive.base_folder} to have it"
            f" downloaded again, or {_remedy(archive, root)}"
        )
    elif not download:
        check_presence(archive, root, download=False)
    else:
        _download(archive, root)


def _first_wrong(archive: type[CIFAR10], root: Path) -> str | None:
    """Say what is wrong with the first file that is not as it should be; None if all are."""
    meta = (archive.meta["filename"], archive.meta["md5"])
    for name, md5 in [*archive.train_list, *archive.test_list, meta]:
        path = root / archive.base_folder / name
        if not path.is_file():
            return f"{archive.base_folder}/{name} is missing"
        if not check_integrity(str(path), md5):
            return f"{_found(path)}, expected md5 {md5}"
    return None


def _found(path: Path) -> str:
    """Describe a wrong file: its name, what it seems to be, its size and checksum."""
    with open(path, "rb") as file:
        head = file.read(512).lstrip().lower()
    kind = ""
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        kind = "a web page, "
    elif not head:
        kind = "empty, "
    size = path.stat().st_size
    return f"{path.name} is damaged: {kind}{size:,} bytes with md5 {calculate_md5(str(path))}"


def _remedy(archive: type[CIFAR10], root: Path) -> str:
    size = ARCHIVE_BYTES.get(archive.filename)
    facts = f"{size:,} bytes, " if size else ""
    return f"put {archive.filename} ({facts}md5 {archive.tgz_md5}) from {archive.url} into {root}"


def _download(archive: type[CIFAR10], root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as folder:
        inner = Path(folder)
        try:
            archive(str(inner), download=True)
        except (OSError, RuntimeError, EOFError) as error:
            packed = inner / archive.filename
            partial = packed.exists() and not check_integrity(str(packed), archive.tgz_md5)
            reason = _found(packed) if partial else str(getattr(error, "reason", None) or error)
            raise DataError(
                f"data.root={root}: downloading CIFAR-10 failed ({reason}); {_remedy(archive, root)}"
            ) from error
        _install(archive, inner, root)


def _unpack(archive: type[CIFAR10], packed: Path, root: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=root) as folder:
        extract_archive(str(packed), folder)
        if wrong := _first_wrong(archive, Path(folder)):
            raise DataError(f"data.root={root}: {archive.filename} is whole, but in it {wrong}")
        _install(archive, Path(folder), root)


def _install(archive: type[CIFAR10], source: Path, root: Path) -> None:
    """Rename the checked folder to its place; if one is there, only what is missing or damaged in it."""
    target = root / archive.base_folder
    if not target.exists():
        os.replace(source / archive.base_folder, target)
        return
    meta = (archive.meta["filename"], archive.meta["md5"])
    for name, md5 in [*archive.train_list, *archive.test_list, meta]:
        if not check_integrity(str(target / name), md5):
            if (target / name).is_dir():
                shutil.rmtree(target / name)
            os.replace(source / archive.base_folder / name, target / name)
