"""Decoded pictures are kept: decoding happens once, and the next start reads bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import weakref
from dataclasses import asdict
from pathlib import Path

import numpy as np
from filelock import FileLock

from gradloop.data.pictures.decoded_pictures import DecodedPictures, decode_to_file, refusal
from gradloop.data.pictures.image_decoding import Broken, Decoding
from gradloop.data.pictures.image_scan import Scan

log = logging.getLogger(__name__)

VERSION = 1  # of the decoding: a higher one makes old caches stale


def decoded(
    found: Scan,
    decoding: Decoding,
    *,
    shape: tuple[int, int, int],
    folder: Path | None,
    threads: int,
    skip: bool,
) -> DecodedPictures:
    """Return the pictures of a scan decoded: from the cache if every file is as it was, else anew.

    The cache's name is a hash of the decoding and of the names, sizes and times of all files: a stale one is
    never found, and it is removed when a new one for the same folder is written. Files get their names when
    they are complete, and a lock keeps two runs from doing the work twice.

    shape: (height, width, channels). folder: None decodes into a temporary file. skip: leave broken files to
    the caller; else raise `DataError` for them.
    """
    if folder is None or not _writable(folder):
        return _temporary(found, decoding, shape=shape, threads=threads, skip=skip)
    place, key = _keys(found, decoding, shape)
    data, facts = folder / f"{place}-{key}.u8", folder / f"{place}-{key}.json"
    size = len(found.files) * int(np.prod(shape))
    broken = _known(data, facts, size)
    if broken is None:
        with FileLock(folder / f"{place}.lock"):
            broken = _known(data, facts, size)  # another run may have done it meanwhile
            if broken is None:
                temporary = folder / f"{place}-{key}.{os.getpid()}.tmp"
                try:
                    broken = decode_to_file(found, temporary, decoding, shape=shape, threads=threads, skip=skip)
                    _remove_older(folder, place)
                    os.replace(temporary, data)
                    note = {"root": str(found.root), "decoding": asdict(decoding), "broken": broken}
                    temporary.write_text(json.dumps(note))
                    os.replace(temporary, facts)
                finally:
                    temporary.unlink(missing_ok=True)
    if broken and not skip:
        raise refusal([file.name for file in found.files], broken)
    return DecodedPictures(data, found, shape=shape, broken=broken)


def _temporary(
    found: Scan, decoding: Decoding, *, shape: tuple[int, int, int], threads: int, skip: bool
) -> DecodedPictures:
    handle, name = tempfile.mkstemp(suffix=".gradloop")
    os.close(handle)
    path = Path(name)
    try:
        broken = decode_to_file(found, path, decoding, shape=shape, threads=threads, skip=skip)
    except BaseException:
        path.unlink()
        raise
    pictures = DecodedPictures(path, found, shape=shape, broken=broken)
    weakref.finalize(pictures, path.unlink, missing_ok=True)
    return pictures


def _keys(found: Scan, decoding: Decoding, shape: tuple[int, int, int]) -> tuple[str, str]:
    """Return one hash for the folder and the decoding, and one for the state of the files."""
    place = repr((VERSION, os.path.realpath(found.root), asdict(decoding), shape)).encode()
    state = hashlib.blake2b(digest_size=12)
    for file in found.files:
        state.update(f"{file.name}\0{file.size}\0{file.modified}\n".encode(errors="surrogateescape"))
    return hashlib.blake2b(place, digest_size=8).hexdigest(), state.hexdigest()


def _known(data: Path, facts: Path, size: int) -> Broken | None:
    """Return what was broken if there is a complete cache, else None."""
    try:
        if data.stat().st_size != size:
            return None
        return {int(row): why for row, why in json.loads(facts.read_text())["broken"].items()}
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _remove_older(folder: Path, place: str) -> None:
    for path in folder.glob(f"{place}-*"):
        if path.suffix != ".tmp":
            path.unlink(missing_ok=True)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        log.warning(
            "data: data.cache_dir=%s can't be written (%s): pictures are decoded again",
            folder,
            error.strerror,
        )
        return False
