"""Data of the user's own that is no gradloop DataModule: what a LightningModule of the user's own trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl

from gradloop.errors import ConfigError

PARTS = ("train", "val", "test")


class Loaders(pl.LightningDataModule):
    """What a callable returned: DataLoaders for train, val and test, by name or in that order; one is for train."""

    def __init__(self, loaders: Mapping[str, Any]) -> None:
        super().__init__()
        self.loaders = loaders
        for part in PARTS:  # Lightning looks for the methods: one of a part that is missing would be asked
            if part in loaders:
                setattr(self, f"{part}_dataloader", lambda part=part: self.loaders[part])


def as_data_module(key: str, target: str, built: Any) -> Any:
    """Return a LightningDataModule for what `data._target_` gave; anything else that holds no loaders as it is."""
    if isinstance(built, pl.LightningDataModule):
        return built
    if isinstance(built, tuple | list):
        if len(built) > len(PARTS):
            raise ConfigError(f"{key}._target_={target}: returned {len(built)} loaders; expected train, val and test")
        built = dict(zip(PARTS, built, strict=False))
    elif hasattr(built, "__iter__") and hasattr(built, "dataset"):
        built = {"train": built}
    if isinstance(built, Mapping):
        if "train" not in built or (unknown := built.keys() - set(PARTS)):
            names = ", ".join(map(str, built)) if "train" not in built else ", ".join(sorted(unknown))
            raise ConfigError(f"{key}._target_={target}: returned loaders named {names}; expected train, val, test")
        return Loaders({part: loader for part, loader in built.items() if loader is not None})
    return built
