"""Decoded pictures are kept in a file: decoding happens once, and the next start reads bytes."""

import errno
import hashlib
import json
import logging
import math
import os
import shutil
import stat
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from gradloop.data.pictures.image_decoding import Broken, Decoding, decode_all
from gradloop.data.pictures.image_scan import Scan
from gradloop.data.pictures.picture_store import megabytes
from gradloop.errors import DataError
from gradloop.streams import Waiting

log = logging.getLogger(__name__)

VERSION = 2  # of the decoding: a higher one makes old caches stale
CHUNK = 4 * 2**20  # bytes read at a time
THREADS = os.cpu_count() or 1  # that decode all pictures; those of a batch are decoded by one


class PictureFiles:
    """Pictures that are decoded whenever they are asked for, and kept nowhere: a `PictureSource`.

    shape: (channels, height, width). broken: rows that are black because their files are broken, and why. A broken
    file is refused when it is met; not with `skip`.
    """

    def __init__(self, found: Scan, decoding: Decoding, *, shape: tuple[int, int, int], skip: bool) -> None:
        self.shape = shape
        self.targets = torch.tensor([file.label for file in found.files], dtype=torch.int64)
        self.names = [file.name for file in found.files]
        self.root, self.decoding, self.skip = found.root, decoding, skip
        self.broken: Broken = {}

    def decode(self, rows: Sequence[int], threads: int = THREADS) -> Iterator[tuple[np.ndarray, Broken]]:
        """Yield the pictures of some rows, a few at a time: uint8 [n, H, W, C], and which rows are broken."""
        channels, height, width = self.shape
        paths = [f"{self.root}/{self.names[row]}" for row in rows]
        for values, wrong in decode_all(paths, self.decoding, shape=(height, width, channels), threads=threads):
            yield values, {rows[place]: why for place, why in wrong.items()}

    def _read(self, rows: Sequence[int], threads: int = THREADS) -> Iterator[Tensor]:
        broken: Broken = {}
        for values, wrong in self.decode(rows, threads):
            broken.update(wrong)
            yield torch.from_numpy(values).permute(0, 3, 1, 2)
        if broken and not self.skip:
            raise _refusal(self.names, broken)

    def chunks(self) -> Iterator[Tensor]:
        return self._read(range(len(self.names)))

    def __getitem__(self, rows: Tensor) -> Tensor:
        return torch.cat(list(self._read(rows.tolist(), 1)))


class DecodedPictures:
    """Pictures in a file of uint8 [N, H, W, C] without a header: a `PictureSource`. files: what it was made of."""

    def __init__(self, path: Path, files: PictureFiles, broken: Broken) -> None:
        self.path, self.broken = path, broken
        self.shape, self.targets, self.names = files.shape, files.targets, files.names
        self._open()

    def _open(self) -> None:
        """Open the file once: it stays readable where another run removes it."""
        self.file = open(self.path, "rb")  # noqa: SIM115 - as long as these pictures are there
        weakref.finalize(self, self.file.close)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def chunks(self) -> Iterator[Tensor]:
        channels, height, width = self.shape
        size = channels * height * width
        count = max(1, CHUNK // size)
        with open(self.path, "rb") as file:  # plain reads: pages of a memory map would count as this process's memory
            for start in range(0, len(self.names), count):
                rows = min(count, len(self.names) - start)
                values = np.fromfile(file, dtype=np.uint8, count=rows * size)
                yield torch.from_numpy(values.reshape(rows, height, width, channels)).permute(0, 3, 1, 2)

    def __getitem__(self, rows: Tensor) -> Tensor:
        channels, height, width = self.shape
        # mapped for a moment: its pages count as this process's memory as long as it is
        pictures = np.memmap(self.file, np.uint8, "r", shape=(len(self.names), height, width, channels))
        return torch.from_numpy(pictures[rows.numpy()]).permute(0, 3, 1, 2)


def decoded(
    found: Scan, decoding: Decoding, *, shape: tuple[int, int, int], folder: Path | None, skip: bool
) -> DecodedPictures | PictureFiles:
    """Return the pictures of a scan decoded: from the cache if every file is as it was, else anew.

    The cache's name is a hash of the decoding and of the names, sizes and times of all files: a stale one is
    never found, and it is removed when a new one for the same folder is written. Files get their names when
    they are complete, and a lock keeps two runs from doing the work twice.

    shape: (channels, height, width). folder: of the cache; None keeps nothing on disk (`PictureFiles`). skip: leave
    broken files to the caller, who has to know them: without a cache all are decoded once for that; else raise
    `DataError` for them.
    """
    files = PictureFiles(found, decoding, shape=shape, skip=skip)
    if folder is None or not _writable(folder):
        if skip:
            log.info("data: decoding %s pictures once to find the broken ones", f"{len(files.names):,}")
            for _, wrong in files.decode(range(len(files.names))):
                files.broken.update(wrong)
        return files
    place, key = _keys(found, decoding, shape)
    data, facts = folder / f"{place}-{key}.u8", folder / f"{place}-{key}.json"
    size = len(files.names) * math.prod(shape)
    broken = _known(data, facts, size)
    if broken and skip:  # one that nobody might read then has the same time now
        still = sum(len(wrong) for _, wrong in files.decode(list(broken)))
        if mended := len(broken) - still:
            log.info("data: %s pictures that could not be read can be now: decoding anew", mended)
            facts.unlink(missing_ok=True)
            broken = None
    if broken is None:
        with FileLock(folder / f"{place}.lock"):
            broken = _known(data, facts, size)  # another run may have done it meanwhile
            if broken is None:
                temporary = folder / f"{place}-{key}.{os.getpid()}.tmp"
                try:
                    broken = _write(files, temporary, size)
                    if skip or not broken:
                        for older in (path for path in folder.glob(f"{place}-*") if path.suffix != ".tmp"):
                            older.unlink(missing_ok=True)
                        os.replace(temporary, data)
                        note = {"root": str(found.root), "decoding": asdict(decoding), "broken": broken}
                        temporary.write_text(json.dumps(note))
                        os.replace(temporary, facts)
                finally:
                    temporary.unlink(missing_ok=True)
    if broken and not skip:
        raise _refusal(files.names, broken)
    return DecodedPictures(data, files, broken)


def _write(files: PictureFiles, target: Path, size: int) -> Broken:
    """Decode every picture into `target`, which takes so many bytes; return which are broken."""
    count, free = len(files.names), shutil.disk_usage(target.parent).free
    if size > free:
        raise DataError(
            f"data.cache_dir={target.parent}: {count:,} decoded pictures take {megabytes(size)} and"
            f" {megabytes(free)} are free; give another folder, a smaller data.image_size, or data.cache=false"
        )
    log.info("data: decoding %s pictures of %s", f"{count:,}", files.root)
    started = time.monotonic()
    broken: Broken = {}
    with open(target, "wb") as file, Waiting("decoding pictures", count) as waiting:
        for values, wrong in files.decode(range(count)):
            file.write(values.data)
            broken.update(wrong)
            waiting.step(len(values))
    log.info("data: decoded %s pictures in %.1f s", f"{count:,}", time.monotonic() - started)
    return broken


def _refusal(names: Sequence[str], broken: Broken) -> DataError:
    """Name the first broken files and count them all."""
    shown = "; ".join(f"{names[row]} {why}" for row, why in list(broken.items())[:3])
    more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
    return DataError(
        f"data.root: {len(broken)} of {len(names)} pictures can't be used: {shown}{more}"
        " (data.broken=skip leaves them out)"
    )


def _keys(found: Scan, decoding: Decoding, shape: tuple[int, int, int]) -> tuple[str, str]:
    """Return one hash for the folder and the decoding, and one for the state of the files."""
    channels, height, width = shape
    place = repr((VERSION, os.path.realpath(found.root), asdict(decoding), (height, width, channels))).encode()
    state = hashlib.blake2b(digest_size=12)
    for file in found.files:
        state.update(f"{file.name}\0{file.size}\0{file.modified}\n".encode(errors="surrogateescape"))
    return hashlib.blake2b(place, digest_size=8).hexdigest(), state.hexdigest()


def _known(data: Path, facts: Path, size: int) -> Broken | None:
    """Return what was broken if there is a complete cache, else None."""
    try:
        if data.stat().st_size != size:
            return None
        return {int(row): why for row, why in json.loads(facts.read_text(encoding="utf-8"))["broken"].items()}
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _writable(folder: Path) -> bool:
    try:
        # a config may be a stranger's, and the pictures are nobody else's
        folder.mkdir(0o700, parents=True, exist_ok=True)
        facts = folder.stat()
        if sys.platform != "win32" and facts.st_uid != os.getuid() and facts.st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EPERM, "it belongs to another user")
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        log.warning(
            "data: data.cache_dir=%s can't be written (%s): pictures are decoded again", folder, error.strerror
        )
        return False
