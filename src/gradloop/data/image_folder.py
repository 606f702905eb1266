"""Any folder of pictures, one sub-folder a class."""

import logging
import os
import sys
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradloop.data.knobs import check
from gradloop.data.pictures.decoded import DecodedPictures, PictureFiles, decoded
from gradloop.data.pictures.image_decoding import Decoding
from gradloop.data.pictures.image_scan import Scan, few, scan
from gradloop.data.pictures.picture_data import PictureData
from gradloop.data.pictures.picture_store import Part
from gradloop.data.splitting import fold_out, hold_out
from gradloop.errors import DataError
from gradloop.process import is_second

log = logging.getLogger(__name__)


class ImageFolder(PictureData):
    """Pictures in `root`/<class>/…, of any size and mode; or in `root`/train|val|test/<class>/….

    root: the folder. Hidden files and files that are no pictures are passed over; links are followed.
    test_fraction, val_fraction: shares drawn for test and, of the rest, for validation, with equal class
        shares, where the folder has no such parts itself. Without a test part the validation part is the test
        part.
    channels: 3 (colours) or 1 (grey). Transparent pixels become white.
    fit: `crop` or `squash`, how pictures of another shape get to `image_size`.
    broken: `refuse` ends with a line that names broken files and empty classes; `skip` leaves them out.
    cache, cache_dir: whether and where decoded pictures are kept for the next start. Without, pictures that don't fit
        in memory are decoded whenever they are needed.

    The other knobs are those of `PictureData`.
    """

    def __init__(
        self,
        *,
        root: str,
        test_fraction: float,
        val_fraction: float,
        channels: int,
        fit: str,
        broken: str,
        cache: bool,
        cache_dir: str,
        **knobs: Any,
    ) -> None:
        super().__init__(**knobs)
        self.test_fraction, self.val_fraction, self.channels, self.fit = test_fraction, val_fraction, channels, fit
        check("data", "ImageFolder", test_fraction=test_fraction, val_fraction=val_fraction, channels=channels,
              fit=fit, broken=broken)  # fmt: skip
        self.root, self.skip = root, broken == "skip"
        self.cache_dir = Path(os.path.expanduser(cache_dir)) if cache else None
        height, width = self.image_size or (None, None)
        self.decoding = Decoding(height=height, width=width, channels=channels, fit=fit)

    @cached_property
    def found(self) -> Scan:
        """What the folder holds: names, sizes and times. Empty classes are left out or refused."""
        found = scan(self.root)
        if found.empty:
            line = f"{len(found.empty)} class folders without a picture: {few(found.empty)}"
            if not self.skip:
                raise DataError(f"data.root={self.root}: {line} (data.broken=skip leaves them out)")
            log.warning("data: %s; left out", line)
            found = found.without_empty()
        if len(found.class_names) < 2:
            raise DataError(
                f"data.root={self.root}: one class only ({found.class_names[0]});"
                " expected a folder for each of two or more classes"
            )
        for part in () if is_second() else dict.fromkeys(file.part for file in found.files if file.part):
            there = {file.label for file in found.files if file.part == part}
            if lacking := [name for label, name in enumerate(found.class_names) if label not in there]:
                print(f"warning: data.root={self.root}: no picture of {few(lacking)} in {part}", file=sys.stderr)
        if found.others and not is_second():
            kinds = [f"{count} {kind or 'without a suffix'}" for kind, count in Counter(found.others).most_common()]
            line = f"{len(found.others)} files are no pictures that can be read: {few(kinds)}"
            print(f"warning: data.root={self.root}: {line}", file=sys.stderr)
        return found

    @cached_property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.found.class_names

    @cached_property
    def num_outputs(self) -> int:  # type: ignore[override]
        return len(self.class_names)

    @cached_property
    def stored_shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        height, width = self.image_size or self._first_size()
        return self.channels, height, width

    def _first_size(self) -> tuple[int, int]:
        """Return (height, width) of the first picture that can be opened."""
        for file in self.found.files:
            try:
                return self.decoding.decode(f"{self.found.root}/{file.name}").shape[:2]
            except Exception:  # it is named when all are decoded
                continue
        raise DataError(f"data.root={self.root}: none of its {len(self.found.files)} pictures can be decoded")

    def check(self) -> None:
        assert self.input_shape  # looks through the folder
        super().check()

    def preprocessing(self) -> dict[str, Any]:
        return {**super().preprocessing(), "channels": self.channels, "fit": self.fit}

    def parts(self) -> dict[str, Part]:
        source = decoded(self.found, self.decoding, shape=self.stored_shape, folder=self.cache_dir, skip=self.skip)
        rows = self._usable(source)
        given = np.array([file.part for file in self.found.files])[rows.numpy()]
        train, val, test = rows, rows[:0], rows[:0]
        if given[0]:
            train, val, test = (rows[torch.from_numpy(given == name)] for name in ("train", "val", "test"))
        if self.folds is not None and self.fold is not None:  # a test part that is given is left alone
            train, test = fold_out(source.targets, train, self.folds, self.fold, seed=self.split_seed)
        elif len(test) == 0:
            train, test = hold_out(source.targets, train, self.test_fraction, seed=self.split_seed, stream="test")
        if len(val) == 0:
            train, val = hold_out(source.targets, train, self.val_fraction, seed=self.split_seed, stream="val")
        parts = {"train": Part(source, train), "val": Part(source, val)}
        parts["test"] = Part(source, test) if len(test) else parts["val"]
        return parts

    def _usable(self, source: DecodedPictures | PictureFiles) -> Tensor:
        """Return the rows that are not broken; say which are, and refuse to lose a whole class."""
        usable = torch.ones(len(source.names), dtype=torch.bool)
        if source.broken:
            usable[list(source.broken)] = False
            shown = "; ".join(f"{source.names[row]} {why}" for row, why in list(source.broken.items())[:3])
            log.warning("data: %d broken pictures are left out: %s …", len(source.broken), shown)
        rows = usable.nonzero()[:, 0]
        counts = torch.bincount(source.targets[rows], minlength=self.num_outputs).tolist()
        lost = [name for name, count in zip(self.class_names, counts, strict=True) if count == 0]
        if lost:
            raise DataError(f"data.root={self.root}: every picture of {few(lost)} is broken")
        return rows
