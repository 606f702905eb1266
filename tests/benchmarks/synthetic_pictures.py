"""Pictures made on the spot, for the benchmarks."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10

from gradloop.config.conf_folder import conf_folder
from gradloop.data.cifar10 import Cifar10
from gradloop.data.pictures.picture_data import PictureData
from gradloop.data.pictures.picture_store import Part

KNOBS = {
    "image_size": None, "subset": 1.0, "mean": None, "std": None, "in_memory": True, "device": "cpu",
    "num_workers": 0, "channels_last": True, "split_seed": 0, "shuffle": True, "drop_last": False, "seed": 0,
}  # fmt: skip


def knobs(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the augmentation's full set of knobs, all off but the changes."""
    off = yaml.safe_load((Path(conf_folder()) / "augmentation" / "none.yaml").read_text())
    return {name: {**values, **changes.get(name, {})} for name, values in off.items()}


class Chunks:
    """Random pictures of 32 x 32 pixels that exist only while they are handed over."""

    shape = (3, 32, 32)

    def __init__(self, count: int) -> None:
        self.targets = torch.arange(count) % 10
        self.names = [""] * count

    def chunks(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, len(self.names), 1000):
            size = (min(1000, len(self.names) - start), 3, 32, 32)
            yield torch.randint(256, size, dtype=torch.uint8, generator=generator)

    def __getitem__(self, rows: Tensor) -> Tensor:
        raise NotImplementedError("these pictures are not kept")


class Synthetic(PictureData):
    """`count` random pictures to train on, and a thousandth as many to validate and test."""

    input_shape = (3, 32, 32)
    num_outputs = 10
    class_names = tuple("abcdefghij")

    def __init__(self, *, count: int, **knobs: Any) -> None:
        super().__init__(**knobs)
        self.count = count

    def parts(self) -> dict[str, Part]:
        held = max(10, self.count // 1000)
        source = Chunks(self.count + held)
        val = Part(source, torch.arange(self.count, self.count + held))
        return {"train": Part(source, torch.arange(self.count)), "val": val, "test": val}


def synthetic(count: int, **changes: Any) -> Synthetic:
    """Return a data module with random pictures."""
    return Synthetic(count=count, **{**KNOBS, **changes})


def picture_folder(root: Path, count: int) -> Path:
    """Write JPEGs of 32 x 32 pixels in ten classes."""
    rng = np.random.default_rng(0)
    for index in range(count):
        folder = root / f"class_{index % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{index:05d}.jpg")
    return root


def cifar10_files(root: Path, count: int, **changes: Any) -> Cifar10:
    """Write `count` random pictures in CIFAR-10's format, five sixths for training; return a data module for them."""
    folder = root / CIFAR10.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    sums = {}
    for name in [*(entry[0] for entry in CIFAR10.train_list), "test_batch"]:
        size = count // 6
        batch = {
            "data": rng.integers(0, 256, (size, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(size)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(Cifar10.class_names)}, protocol=2))
    for path in folder.iterdir():
        sums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()

    class Archive(CIFAR10):
        train_list = [[entry[0], sums[entry[0]]] for entry in CIFAR10.train_list]  # noqa: RUF012
        test_list = [["test_batch", sums["test_batch"]]]  # noqa: RUF012
        meta = {**CIFAR10.meta, "md5": sums["batches.meta"]}  # noqa: RUF012

    class Files(Cifar10):
        archive = Archive  # type: ignore[assignment]

    return Files(root=str(root), download=False, val_fraction=0.1, **{**KNOBS, **changes})
