"""CIFAR-10: 60,000 colour pictures of 32 x 32 pixels, ten classes (Krizhevsky 2009)."""

import os
import pickle
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
from torchvision.datasets.utils import calculate_md5, check_integrity, download_and_extract_archive, extract_archive
from torchvision.transforms.v2 import functional

from gradloop.data.knobs import check
from gradloop.data.pictures.picture_data import PictureData
from gradloop.data.pictures.picture_store import Part, release_memory
from gradloop.data.splitting import fold_out, hold_out
from gradloop.errors import DataError

ARCHIVE_BYTES = {"cifar-10-python.tar.gz": 170_498_071}


class Cifar10(PictureData):
    """The standard 50,000 + 10,000 pictures; validation is held out of the first, test is the second, whole.

    root: where `cifar-10-batches-py` or its archive lies, or is downloaded to (170 MB) if `download`.
    val_fraction: share of the training pictures that is held out, with equal class shares.

    The other knobs are those of `PictureData`. A subclass may set `archive` to a class of the same format.
    """

    archive: type[CIFAR10] = CIFAR10  # knows the files, their checksums and where they come from
    num_outputs = 10
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(self, *, root: str, download: bool, val_fraction: float, **knobs: Any) -> None:
        super().__init__(**knobs)
        self.root = Path(os.path.expanduser(root))
        self.download, self.val_fraction = download, val_fraction
        check("data", "Cifar10", val_fraction=val_fraction)
        self.stored_shape = (3, *(self.image_size or (32, 32)))

    def check(self) -> None:
        super().check()
        check_presence(self.archive, self.root, download=self.download)

    def parts(self) -> dict[str, Part]:
        ensure_files(self.archive, self.root, download=self.download)
        given = Cifar10Pictures(self.archive, self.root, train=True, size=self.image_size)
        test = Cifar10Pictures(self.archive, self.root, train=False, size=self.image_size)
        train, last = torch.arange(len(given.names)), Part(test, torch.arange(len(test.names)))
        if self.folds is not None and self.fold is not None:  # of the training pictures; the test part is left alone
            train, fold = fold_out(given.targets, train, self.folds, self.fold, seed=self.split_seed)
            last = Part(given, fold)
        train, val = hold_out(given.targets, train, self.val_fraction, seed=self.split_seed, stream="val")
        return {"train": Part(given, train), "val": Part(given, val), "test": last}


class Cifar10Pictures:
    """The pictures of some of CIFAR-10's batch files, resized if asked: a `PictureSource`.

    Every file is read twice: for the labels, which decide where each picture goes, and for the pictures. Thus no
    more than one file's lie in memory beside their final place.
    """

    def __init__(self, archive: type[CIFAR10], root: Path, *, train: bool, size: tuple[int, int] | None) -> None:
        self.shape = (3, *(size or (32, 32)))
        self.size = size
        entries = archive.train_list if train else archive.test_list
        self.files = [root / archive.base_folder / name for name, _ in entries]
        self.targets = torch.cat([_read(file)[1] for file in self.files])
        part = "train" if train else "test"
        self.names = [f"{part}_{row:05d}" for row in range(len(self.targets))]
        self._all: Tensor | None = None

    def chunks(self) -> Iterator[Tensor]:
        for file in self.files:
            release_memory()  # unpickling takes more than a file's size for a moment
            for chunk in _read(file)[0].split(1000):
                yield self._resized(chunk)

    def __getitem__(self, rows: Tensor) -> Tensor:
        if self._all is None:
            self._all = torch.cat([_read(file)[0] for file in self.files])
        return self._resized(self._all[rows])

    def _resized(self, pictures: Tensor) -> Tensor:
        if self.size is None:
            return pictures
        return functional.resize(pictures, list(self.size), antialias=True)


def _read(path: Path) -> tuple[Tensor, Tensor]:
    """Return the pictures, uint8 [N, 3, 32, 32], and labels, int64 [N], of a file whose checksum is right."""
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about arrays pickled long ago
        batch = pickle.load(file, encoding="latin1")
    return torch.from_numpy(batch["data"]).view(-1, 3, 32, 32), torch.tensor(batch["labels"])


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
    elif (root / archive.base_folder).exists():
        raise DataError(
            f"data.root={root}: {wrong}; remove {root / archive.base_folder} to have it"
            f" downloaded again, or {_remedy(archive, root)}"
        )
    check_presence(archive, root, download=download)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=root) as folder:
        if packed.exists():
            extract_archive(str(packed), folder)
        else:
            _download(archive, Path(folder), root)
        if wrong := _first_wrong(archive, Path(folder)):
            raise DataError(f"data.root={root}: {archive.filename} is whole, but in it {wrong}")
        _install(archive, Path(folder), root)


def _download(archive: type[CIFAR10], folder: Path, root: Path) -> None:
    try:
        download_and_extract_archive(archive.url, str(folder), filename=archive.filename, md5=archive.tgz_md5)
    except (OSError, RuntimeError, EOFError) as error:
        packed = folder / archive.filename
        partial = packed.exists() and not check_integrity(str(packed), archive.tgz_md5)
        reason = _found(packed) if partial else str(getattr(error, "reason", None) or error)
        raise DataError(
            f"data.root={root}: downloading CIFAR-10 failed ({reason}); {_remedy(archive, root)}"
        ) from error


def _install(archive: type[CIFAR10], source: Path, root: Path) -> None:
    """Rename the checked folder to its place; if one is there, only what is missing or damaged in it."""
    target = root / archive.base_folder
    if not target.exists():
        os.replace(source / archive.base_folder, target)
        return
    for name, md5 in _files(archive):
        if not check_integrity(str(target / name), md5):
            if (target / name).is_dir():
                shutil.rmtree(target / name)
            os.replace(source / archive.base_folder / name, target / name)


def _first_wrong(archive: type[CIFAR10], root: Path) -> str | None:
    """Say what is wrong with the first file that is not as it should be; None if all are."""
    for name, md5 in _files(archive):
        path = root / archive.base_folder / name
        if not path.is_file():
            return f"{archive.base_folder}/{name} is missing"
        if not check_integrity(str(path), md5):
            return f"{_found(path)}, expected md5 {md5}"
    return None


def _files(archive: type[CIFAR10]) -> list[tuple[str, str]]:
    """Return every file's name and checksum."""
    meta = (archive.meta["filename"], archive.meta["md5"])
    return [(name, md5) for name, md5 in [*archive.train_list, *archive.test_list, meta]]


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
