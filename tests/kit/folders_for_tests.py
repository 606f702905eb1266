"""Folders of small pictures for the tests of this folder."""

from __future__ import annotations

from PIL import Image

from gradloop.data.image_folder import ImageFolder
from pictures_for_tests import knobs

KNOBS = {
    "image_size": None,
    "fit": "crop",
    "channels": 3,
    "test_fraction": 0.2,
    "val_fraction": 0.2,
    "split_seed": 0,
    "subset": 1.0,
    "mean": None,
    "std": None,
    "broken": "refuse",
    "cache": False,
    "cache_dir": "",
    "in_memory": "auto",
    "device": "cpu",
    "num_workers": 0,
    "channels_last": False,
    "augmentation": knobs(),
    "batch_size": 2,
    "shuffle": True,
    "drop_last": False,
    "seed": 0,
}


def folder_data(root, **changes):
    return ImageFolder(**{**KNOBS, "root": str(root), **changes})


def draw(path, colour=(200, 10, 10), size=(10, 8), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
