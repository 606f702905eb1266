"""What each group of the config builds: a class of another kind is refused before it is called."""

import inspect
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch import nn
from torchmetrics import Metric

from gradloop.data.data_module import DataModule
from gradloop.errors import ConfigError

# of the group itself, or (callbacks, logger) of each entry in it
KINDS: dict[str, tuple[type, str]] = {
    "data": (pl.LightningDataModule, "a data module, a subclass of gradloop.data.data_module.DataModule"),
    "module": (pl.LightningModule, "a LightningModule"),
    "model": (nn.Module, "a network, a torch.nn.Module"),
    "optimizer": (torch.optim.Optimizer, "a torch.optim.Optimizer"),
    "scheduler": (torch.optim.lr_scheduler.LRScheduler, "a torch.optim.lr_scheduler.LRScheduler"),
    "trainer": (pl.Trainer, "a lightning.pytorch.Trainer"),
    "trainer.profiler": (Profiler, "a lightning.pytorch.profilers.Profiler"),
    "trainer.strategy": (Strategy, "a lightning.pytorch.strategies.Strategy"),
    "metrics": (Metric, "a metric, a torchmetrics.Metric"),
    "callbacks": (pl.Callback, "a callback, a lightning.pytorch.Callback"),
    "logger": (Logger, "a logger, a lightning.pytorch.loggers.Logger"),
}
ENTRIES = ("callbacks", "logger", "metrics")
PARTS = ("train", "val", "test")


def is_set_from_data(network: nn.Module) -> bool:
    """Whether a network has layers that are set once from the data, before training: an `initialize(inputs)`.

    inputs: [N, *input_shape], as the network gets them. A method of that name that asks for anything else is its own.
    """
    found = getattr(type(network), "initialize", None)
    return callable(found) and [*inspect.signature(found).parameters][1:2] == ["inputs"]


def set_from_data(network: Any, inputs: torch.Tensor) -> None:
    """Call `initialize`; raise ConfigError where it sets nothing that a checkpoint would hold."""
    before = {name: value.clone() for name, value in network.state_dict().items() if isinstance(value, torch.Tensor)}
    network.initialize(inputs)
    after = network.state_dict()
    if before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before):
        raise ConfigError(
            f"model: {type(network).__qualname__}.initialize sets none of its weights or buffers; what it keeps "
            "elsewhere is in no checkpoint (register_buffer)"
        )


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


def check_class(key: str, target: str, found: Any) -> None:
    """Refuse a class that its group has no use for; what a function returns is seen by `check_built`."""
    if not inspect.isclass(found) or (kind := _kind(key)) is None:
        return
    if not issubclass(found, kind[0]):
        raise ConfigError(f"{key}._target_={target}: expected {kind[1]}")
    if key == "model" and issubclass(found, pl.LightningModule):
        raise ConfigError(
            f"model._target_={target}: a LightningModule, whose training_step and configure_optimizers would not be "
            f"used; it trains by its own steps as module._target_={target}, or give the network in it as model"
        )


def check_built(key: str, target: str, built: Any) -> None:
    """Refuse an object that its group has no use for, or whose class did not start its base class."""
    if (kind := _kind(key)) is None:
        return
    name = type(built).__qualname__
    if not isinstance(built, kind[0]):
        raise ConfigError(f"{key}._target_={target}: built a {name}; expected {kind[1]}")
    check_class(key, target, type(built))
    if isinstance(built, DataModule) and not hasattr(built, "splits"):
        call = "super().__init__(batch_size=batch_size, seed=seed)"
        raise ConfigError(f"{key}._target_={target}: the __init__ of {name} does not call {call}")
    if isinstance(built, nn.Module) and not hasattr(built, "training"):
        raise ConfigError(f"{key}._target_={target}: the __init__ of {name} does not call super().__init__()")


def _kind(key: str) -> tuple[type, str] | None:
    group, *rest = key.split(".")
    return KINDS.get(group if len(rest) == (group in ENTRIES) else key)
