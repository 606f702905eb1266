"""From a checked config to the objects of a run. Nothing below here sees a config."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn

from gradloop.config.targets import check_arguments, locate, parameters
from gradloop.data.data_module import DataModule
from gradloop.errors import ConfigError, GradloopError, said
from gradloop.training.kinds import as_data_module, check_built, check_class
from gradloop.training.optimizing import optimizer_of, scheduler_of, taken_over
from gradloop.training.own_metrics import metrics_of
from gradloop.training.supervised import Supervised
from gradloop.training.task import TASKS, Task, task_of
from gradloop.training.trials import check_trainable, name_of, try_loss, try_network

Values = dict[str, Any]

BY_OPTIMIZATION = {"gradient_clip_val": 0, "accumulate_grad_batches": 1}  # what Lightning does if it optimizes
# these take probabilities, and networks here give logits
NOT_ON_LOGITS = ("NLLLoss", "nll_loss", "BCELoss", "binary_cross_entropy")


class Builder:
    """Builds what `_target_` names, from plain values. `allow`: the user's own names from the command line."""

    def __init__(self, allow: tuple[str, ...] = ()) -> None:
        self.allow = allow

    def __call__(self, key: str, values: Values, **given: Any) -> Any:
        """Call the target with the config's values and what is `given`; with `_partial_`, return a partial."""
        values = {k: self._nested(f"{key}.{k}", v) for k, v in values.items()}
        target = values.pop("_target_")
        found = locate(f"{key}._target_", target, self.allow)
        check_class(key, target, found)
        is_partial = values.pop("_partial_", False)
        check_arguments(key, found, values)
        if is_partial:
            return partial(found, **values, **given)
        try:
            built = found(**values, **given)
        except GradloopError:
            raise
        except Exception as error:  # a constructor raises what it likes
            if "before Module.__init__() call" in str(error):
                check_built(key, target, found.__new__(found))
            raise ConfigError(f"{key}: {name_of(found)} says: {said(error)}") from error
        if key == "data":
            built = as_data_module(key, target, built)
        check_built(key, target, built)
        return built

    def _nested(self, key: str, values: Any) -> Any:
        if isinstance(values, dict):
            return (
                self(key, values)
                if values.get("_target_")
                else {k: self._nested(f"{key}.{k}", v) for k, v in values.items()}
            )
        if isinstance(values, list):
            return [self._nested(f"{key}[{i}]", v) for i, v in enumerate(values)]
        return values

    def named(self, key: str, group: Values) -> list[Any]:
        """Build every entry of a group of named targets (callbacks, loggers); null switches an entry off."""
        return [self(f"{key}.{name}", entry) for name, entry in group.items() if entry and entry["_target_"]]

    def data(self, values: Values, seed: int, *, own: bool = False) -> Any:
        """Build the data module; it is handed the run's seed if its signature asks for one.

        own: for a LightningModule of the user's own, which takes any LightningDataModule, and a callable that returns
        DataLoaders.
        """
        found = locate("data._target_", values["_target_"], self.allow)
        named, others = parameters(found)
        if "seed" not in named and not others:
            if values.get("seed", seed) != seed:
                raise ConfigError(f"data.seed={values['seed']}: {name_of(found)} takes no seed; leave data.seed out")
            values = {key: value for key, value in values.items() if key != "seed"}
        data = self("data", values)
        if not own and not isinstance(data, DataModule):
            raise ConfigError(
                f"data._target_={values['_target_']}: declares nothing that a network and a loss can be built from; "
                "expected a subclass of gradloop.data.data_module.DataModule, or give module._target_=… with it"
            )
        if not own and is_overridden("train_dataloader", data, DataModule):
            raise ConfigError(
                f"data._target_={values['_target_']}: its own train_dataloader says nothing of epoch and batch: no "
                "run could go on; override load or train_batches, or give module._target_=… with it"
            )
        return data

    def own_module(self, values: Values, facts: Values) -> pl.LightningModule:
        """Build the user's own LightningModule; it is handed what it asks for of the data's facts."""
        target = values["module"]["_target_"]
        found = locate("module._target_", target, self.allow)
        seed_everything(values["seed"], verbose=False)
        taken, model = taken_over(values), values["model"].get("_target_")
        for name, held in taken.items():
            if model is not None and isinstance(held, dict) and held.get("_target_") == model:  # module.…='${model}'
                taken[name] = held | _asked_for(locate(f"module.{name}._target_", model, self.allow), held, facts)
        given = _asked_for(found, taken, facts)
        module = self("module", {k: v for k, v in taken.items() if k not in given}, **given)
        for method in ("training_step", "configure_optimizers"):
            if not is_overridden(method, module):
                raise ConfigError(f"module._target_={target}: {name_of(found)} has no {method}")
        for method in (f"{part}_dataloader" for part in ("train", "val", "test")):
            if is_overridden(method, module):
                what = f"its {method} would not be asked; data._target_=… names a LightningDataModule of yours"
                raise ConfigError(f"module._target_={target}: {what}")
        for key, nothing in BY_OPTIMIZATION.items():
            value = values["trainer"].get(key)
            if not module.automatic_optimization and value not in (None, nothing):
                raise ConfigError(
                    f"trainer.{key}={value}: {name_of(found)} optimizes by itself (automatic_optimization=False) and "
                    "would have to do that in its training_step"
                )
        return module

    def network(self, values: Values, facts: Values) -> nn.Module:
        """Build a network; it is handed those of the data's facts that its signature asks for."""
        found = locate("model._target_", values["_target_"], self.allow)
        given = _asked_for(found, values, facts)
        if parameters(found)[1] and found.__module__.startswith("torchvision.models"):
            given.setdefault("num_classes", facts["num_outputs"])
        network = self("model", {k: v for k, v in values.items() if k not in given}, **given)
        try_network(network, facts)
        return network

    def loss(self, values: Values, task: Task, facts: Values | None = None) -> Callable[..., torch.Tensor]:
        """Build the loss: the task's own for `loss=auto`; refuse one of another task.

        facts: of the data; `class_weights` among them where `loss.weight=balanced`.
        """
        weight, values = values.get("weight"), {k: v for k, v in values.items() if k != "weight"}
        if values.get("_target_") is None:
            values = task.default_loss | {k: v for k, v in values.items() if k != "_target_" and v is not None}
        name, use = values["_target_"].rpartition(".")[2], f"use loss={' or '.join(task.losses)}"
        known = values["_target_"].startswith("torch.")
        if known and name in NOT_ON_LOGITS:
            raise ConfigError(
                f"loss._target_={values['_target_']}: takes probabilities, and networks here give logits; {use}"
            )
        for other in TASKS.values():
            if known and name in other.losses.values() and name not in task.losses.values():
                hint = " (or set data.task=binary)" if (task.name, other.name) == ("multiclass", "binary") else ""
                what = f"fits {other.name} data, and this is {task.name}; {use}{hint}"
                raise ConfigError(f"loss._target_={values['_target_']}: {what}")
        found = locate("loss._target_", values["_target_"], self.allow)
        if not isinstance(found, type):  # a function of (outputs, targets): its other arguments are bound
            if weight is not None:
                raise ConfigError(f"loss.weight={weight}: {name_of(found)} is a function; {use}")
            an_object = "built" in vars(found)  # of a notebook: what is called gives a copy of it
            return self("loss", values if an_object else values | {"_partial_": True})
        given = task.loss_weights(found, weight, facts or {}, use)
        loss: nn.Module = self("loss", values, **given)
        for name, _ in loss.named_buffers() if isinstance(loss, nn.Module) else ():
            if name in given:  # no weights of the run: its recipe has them
                loss.register_buffer(name, given[name], persistent=False)
        return loss

    def module(self, values: Values, data: DataModule | None, facts: Values) -> Supervised:
        """Build the LightningModule of a run; without data, one that only evaluates."""
        seed_everything(values["seed"], verbose=False)  # the initial weights depend on the seed alone
        network = self.network(values["model"], facts)
        task = task_of(facts)
        loss = self.loss(values["loss"], task, facts)
        tried = partial(try_loss, loss, values["loss"].get("_target_") or "auto", facts, task.losses)
        tried()
        mixing = values["data"].get("augmentation") or {}
        if data is not None and any((mixing.get(name) or {}).get("alpha") for name in ("mixup", "cutmix")):
            tried(mixed=True)
        if values.get("compile"):
            network.compile()
        epoch_metrics = list(task.epoch_metrics) if values.get("epoch_metrics") is None else values["epoch_metrics"]
        for name in epoch_metrics:
            if name not in task.metrics:
                raise ConfigError(f"epoch_metrics={name}: for this task there are {', '.join(task.metrics)}")
        shift, shape = values.get("test_time_shift", 0), tuple(facts["input_shape"])
        parts: Values = {
            "network": network,
            "task": task,
            "loss": loss,
            "epoch_metrics": epoch_metrics,
            "own_metrics": metrics_of(self, values.get("metrics") or {}, facts, task),
            "seed": values["seed"],
            "channels_last": values.get("channels_last", False),
            "test_time_flip": values.get("test_time_flip", False),
            "test_time_shift": int(shift),
        }
        if len(shape) == 3 and shift >= min(shape[1:]):  # reflecting the edge can't fill that
            raise ConfigError(f"test_time_shift={shift}: expected less than the pictures' {min(shape[1:])} pixels")
        if data is not None:
            for knob in ("test_time_flip", "test_time_shift", "channels_last"):
                if values.get(knob) and len(shape) != 3:
                    raise ConfigError(f"{knob}={values[knob]}: is for pictures, not for data of shape {shape}")
                if values.get(knob) and "test_time" in knob and len(facts.get("target_shape") or ()) > 1:
                    raise ConfigError(f"{knob}={values[knob]}: the answers are maps, which are not turned back")
            check_trainable(network)
            parts["optimizer"] = optimizer_of(self, values, network)
            parts["loop"] = loop_options(values["trainer"])
            parts["scheduler"], parts["scheduler_interval"] = scheduler_of(self, values, task, parts["own_metrics"])
        return Supervised(**parts)


def _asked_for(found: Any, values: Values, facts: Values) -> Values:
    """Return those of the data's facts that a signature names and the config leaves open."""
    if not facts:
        return {}
    known = {
        "input_shape": facts["input_shape"],
        "num_outputs": facts["num_outputs"],
        "num_classes": facts["num_outputs"],
        "in_features": int(torch.Size(facts["input_shape"]).numel()),
        "out_features": facts["num_outputs"],
        "in_channels": facts["input_shape"][0],
    }
    named, _ = parameters(found)
    return {name: value for name, value in known.items() if name in named and values.get(name) is None}


def loop_options(trainer: Values) -> Values:
    """Return what the training loop takes over from the Trainer's settings."""
    return {
        "accumulate": int(trainer.get("accumulate_grad_batches") or 1),
        "clip": trainer.get("gradient_clip_val"),
        "clip_algorithm": trainer.get("gradient_clip_algorithm"),
    }


def facts_of(data: Any) -> Values:
    """Return what a data module declares, as plain data: enough to build the network and the metrics again.

    Any other LightningDataModule declares nothing.
    """
    if not isinstance(data, DataModule):
        return {}
    return {name: list(fact) if isinstance(fact, tuple) else fact for name, fact in asdict(data.facts).items()}
