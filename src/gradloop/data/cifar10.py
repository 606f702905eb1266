"""CIFAR-10: 60,000 colour pictures of 32 x 32 pixels, ten classes (Krizhevsky 2009)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gradloop.data.knobs import number, one_of
from gradloop.data.pictures.picture_data import PictureData
from gradloop.data.pictures.picture_store import Part
from gradloop.data.splitting import hold_out
from gradloop.errors import ConfigError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


class Cifar10(PictureData):
    """The standard 50,000 + 10,000 pictures; validation is held out of the first, test is the second, whole.

    root: where `cifar-10-batches-py` or its archive lies, or is downloaded to (170 MB) if `download`.
    val_fraction: share of the training pictures that is held out, with equal class shares.

    The other knobs are those of `PictureData`. A subclass may set `archive` to a class of the same format.
    """

    num_outputs = 10
    class_names = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )

    def __init__(self, *, root: str, download: bool, val_fraction: float, **knobs: Any) -> None:
        super().__init__(**knobs)
        self.root = Path(os.path.expanduser(root))
        self.download = one_of("data.download", download, (False, True))
        self.val_fraction = number("data.val_fraction", val_fraction, 0, 1)
        if val_fraction in (0, 1):
            raise ConfigError(f"data.val_fraction={val_fraction}: expected a number above 0 and below 1")
        self.input_shape = (3, *(self.image_size or (32, 32)))

    @property
    def archive(self) -> type[CIFAR10]:
        """torchvision's class, which knows the files, their checksums and where they come from."""
        from torchvision.datasets import CIFAR10

        return CIFAR10

    def check(self) -> None:
        from gradloop.data.cifar10_files import check_presence

        super().check()
        check_presence(self.archive, self.root, download=self.download)

    def parts(self) -> dict[str, Part]:
        from gradloop.data.cifar10_files import Cifar10Pictures, ensure_files

        ensure_files(self.archive, self.root, download=self.download)
        given = Cifar10Pictures(self.archive, self.root, train=True, size=self.image_size)
        test = Cifar10Pictures(self.archive, self.root, train=False, size=self.image_size)
        rows = torch.arange(len(given.names))
        train, val = hold_out(given.targets, rows, self.val_fraction, seed=self.split_seed, stream="val")
        return {
            "train": Part(given, train),
            "val": Part(given, val),
            "test": Part(test, torch.arange(len(test.names))),
        }
