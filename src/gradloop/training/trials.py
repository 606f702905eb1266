"""Small trials of a run's parts: what does not fit together shows before anything is created."""

import contextlib
import copy
import inspect
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradloop.callbacks.freeze import BATCH_NORM
from gradloop.data.batches import batches_of, limited
from gradloop.data.data_checks import blank
from gradloop.data.data_module import DataModule
from gradloop.errors import ConfigError, did_you_mean, said
from gradloop.optimizers.warmup import Warmup

Values = dict[str, Any]
PARTS = {"train": "limit_train_batches", "val": "limit_val_batches", "test": "limit_test_batches"}


def try_network(network: nn.Module, facts: Values) -> None:
    """Run two blank samples through the network, and compare what comes out with what the data needs."""
    shape, wanted = tuple(facts["input_shape"]), (2, *target_shape(facts))
    if not network.training:  # built for evaluation; of one that trains, some layers may be so for good
        network.train()
    modes = [(layer, layer.training) for layer in network.modules()]
    tried = network  # a lazy one is made whole by that
    if not any(is_lazy(weight) for weight in (*network.parameters(), *network.buffers())):
        with contextlib.suppress(Exception):  # not everything can be copied
            tried = copy.deepcopy(network)
    tried.eval()
    try:
        with torch.no_grad():
            result = tried(blank(2, facts))
            if tried.state_dict().keys() != network.state_dict().keys():  # it makes layers as it is first called
                network.eval()(blank(2, facts))
    except Exception as error:  # a network raises what it likes
        reason = f"does not take data of shape {shape}: {said(error)}"
        raise ConfigError(f"model: {name_of(network)} {reason}") from error
    finally:
        for layer, training in modes:
            layer.training = training
    when = ""
    if isinstance(result, torch.Tensor) and not type(network).__module__.startswith("gradloop."):
        with contextlib.suppress(Exception), torch.random.fork_rng(devices=[]), torch.no_grad():  # it may need more
            result, when = copy.deepcopy(network)(blank(2, facts)), " in training"
    if not isinstance(result, torch.Tensor):
        what = ", not a tensor" if result is not None else ": its forward lacks a return"
        kind = "None" if result is None else f"a {type(result).__name__}"
        raise ConfigError(f"model: {name_of(network)} gives {kind}{when}{what}")
    given = tuple(result.shape)
    if given != wanted:
        raise ConfigError(
            f"model: {name_of(network)} gives {given} for 2 samples of shape {shape}; the data needs {wanted}"
        )


def target_shape(facts: Values) -> tuple[int, ...]:
    """Return the shape of a sample's outputs. facts: also of an older checkpoint, which does not say."""
    return tuple(facts.get("target_shape") or (facts["num_outputs"],))


def check_trainable(network: nn.Module) -> None:
    """Refuse a network that has nothing to train."""
    if not any(weight.requires_grad for weight in network.parameters()):
        raise ConfigError(
            f"model: {name_of(network)} has no parameters to train; layers kept in a plain list are not found "
            "(nn.ModuleList)"
        )


def try_loss(
    loss: Callable[..., Any], target: str, facts: Values, fitting: Iterable[str], *, mixed: bool = False
) -> None:
    """Compute the loss of two samples. fitting: the loss group's choices for the task, for the message.

    mixed: the targets are shares of classes, as MixUp and CutMix make them.
    """
    shape = (2, *target_shape(facts))
    outputs = torch.linspace(-2, 2, math.prod(shape)).reshape(shape)
    targets = torch.zeros(2, dtype=torch.long) if facts["task"] == "multiclass" else torch.zeros(shape)
    what = "logits and targets"
    if mixed:
        targets, what = torch.full(shape, 1 / shape[1]), "shares of classes [B, C], which augmentation mixes"
    if isinstance(loss, nn.Module):
        with contextlib.suppress(Exception):  # not everything can be copied
            loss = copy.deepcopy(loss)
    use = f"; for {facts['task']} data there is loss={' or '.join(fitting)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*target size.*")  # torch would broadcast them
            result = loss(outputs, targets)
    except Exception as error:  # a loss raises what it likes
        raise ConfigError(f"loss: {target} does not take {what}: {said(error)}{use}") from error
    if not isinstance(result, torch.Tensor) or result.numel() != 1:
        given = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise ConfigError(f"loss: {target} gives {given}; expected one number (reduction=mean?){use}")


def try_optimizer(
    optimizer: Callable[..., Any], target: str, weights: Iterable[nn.Parameter], key: str = "optimizer"
) -> torch.optim.Optimizer:
    """Build the optimizer on weights like those, and return it."""
    alike = [nn.Parameter(torch.zeros_like(weight), weight.requires_grad) for weight in weights]
    try:
        built = optimizer(alike or [nn.Parameter(torch.zeros(1))])
    except Exception as error:  # torch's optimizers raise five kinds of errors
        raise ConfigError(f"{key}: {target} says: {said(error)}") from error
    if not isinstance(built, torch.optim.Optimizer):
        raise ConfigError(f"optimizer._target_={target}: built a {name_of(built)}, no torch.optim.Optimizer")
    if _needs_closure(built):
        raise ConfigError(
            f"optimizer: {target} steps with a closure; a LightningModule of your own (module._target_=…) may use it"
        )
    return built


def _needs_closure(built: torch.optim.Optimizer) -> bool:
    """Whether the optimizer steps only if it may compute the loss again itself."""
    asked = inspect.signature(built.step).parameters.values()
    if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in asked):
        return True
    if type(built).__module__.startswith(("torch.", "gradloop.")):
        return False
    for weight in (weight for group in built.param_groups for weight in group["params"]):
        weight.grad = torch.ones_like(weight)
    with contextlib.suppress(Exception):
        built.step()
        return False
    with contextlib.suppress(Exception):  # what fails in both ways may want a weight of another shape
        built.step(lambda: 0.0)
        return True
    return False


def try_steps(module: Any, data: DataModule, values: Values, processes: int) -> None:
    """Refuse limits that leave no batch, crops that do not fit, and a schedule of another number of steps."""
    trainer = values["trainer"]
    _try_crops(module, (values["data"].get("augmentation") or {}).get("random_crop") or {}, data)
    counts = {}
    for part, key in PARTS.items():
        samples = math.ceil(len(data.splits[part]) / processes)
        batches = counts[part] = batches_of(samples, data.batch_size, drop_last=data.drop_last and part == "train")
        if part != "test" and trainer.get("overfit_batches"):
            key = "overfit_batches"
        limit = trainer.get(key, 1.0)
        if isinstance(limit, float) and limit > 0 and int(batches * limit) < 1:
            raise ConfigError(
                f"trainer.{key}={limit}: not even one of the {part} part's {batches} batches; use 1 for one batch"
            )
    last = math.ceil(len(data.splits["train"]) / processes) % data.batch_size
    limit = trainer.get("overfit_batches") or trainer.get("limit_train_batches", 1.0)
    if data.batch_size == 1 or (
        last == 1 and not data.drop_last and limited(counts["train"], limit) == counts["train"]
    ):
        _try_one(module, data)
    every = trainer.get("val_check_interval", 1.0)
    if isinstance(every, int) and every > (batches := limited(counts["train"], limit)):
        raise ConfigError(f"trainer.val_check_interval={every}: an epoch has only {batches} batches")
    if getattr(module, "scheduler_factory", None) is None:
        return
    limit = trainer.get("limit_train_batches", 1.0)
    an_epoch = -(-limited(counts["train"], limit) // int(trainer.get("accumulate_grad_batches") or 1))
    steps = an_epoch * int(trainer["max_epochs"])
    if int(trainer.get("max_steps", -1)) > 0:
        steps = min(steps, trainer["max_steps"])
    target = values["scheduler"]["_target_"]
    try:
        scheduler = module.scheduler_factory(
            try_optimizer(module.optimizer_factory, "", module.parameters()), steps, an_epoch
        )
    except ConfigError:
        raise
    except Exception as error:  # torch's schedulers raise four kinds of errors
        hint = "; add scheduler.cycle_momentum=false" if "cycle_momentum" in str(error) else ""
        raise ConfigError(f"scheduler: {target} says: {said(error)}{hint}") from error
    if not isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):
        raise ConfigError(f"scheduler._target_={target}: built a {name_of(scheduler)}, no learning-rate scheduler")
    whole = not (trainer.get("overfit_batches") or trainer.get("fast_dev_run"))
    if whole and isinstance(scheduler, Warmup) and scheduler.steps >= steps:
        warmup = values["scheduler"]["warmup"]
        raise ConfigError(f"scheduler.warmup={warmup}: {scheduler.steps} steps, and the run has {steps} in all")
    planned = getattr(scheduler, "total_steps", steps)
    if whole and planned < steps:
        raise ConfigError(f"scheduler.total_steps={planned}: the run has {steps} steps; null takes all")


@torch.no_grad()
def _try_crops(module: Any, crop: Values, data: DataModule) -> None:
    """Refuse crops of a size that a network, trained on them, does not take."""
    network, size = getattr(module, "network", None), crop.get("size")
    if size is None or network is None:
        return
    try:
        copy.deepcopy(network).eval()(torch.zeros(2, data.input_shape[0], size, size))
    except Exception as error:  # a network raises what it likes
        wanted = f"augmentation.random_crop.size={size}: {name_of(network)} does not take pictures of that size"
        raise ConfigError(f"{wanted}: {said(error)}") from error


@torch.no_grad()
def _try_one(module: Any, data: DataModule) -> None:
    """Refuse a last batch of one sample for a network that can't train on one: batch norm over nothing else."""
    network = getattr(module, "network", None)  # none: a module of the user's own
    if network is None or not any(isinstance(layer, BATCH_NORM) for layer in network.modules()):
        return
    try:
        copy.deepcopy(network).train()(data.seen("train", torch.zeros(1, dtype=torch.long)))
    except Exception as error:  # whatever else is wrong shows later
        if "more than 1 value per channel" in str(error):
            which = "a batch" if data.batch_size == 1 else "the last batch of an epoch"
            how = "take 2 or more" if data.batch_size == 1 else "data.drop_last=true leaves it out"
            what = f"{which} has one sample, on which batch norm can't train; {how}"
            raise ConfigError(f"data.batch_size={data.batch_size}: {what}") from error


def check_monitor(key: str, monitor: str, measured: Iterable[str]) -> None:
    """Refuse a metric that is never measured."""
    if monitor not in measured:
        raise ConfigError(
            f"{key}={monitor}: never measured; there are {', '.join(measured)}"
            + did_you_mean(monitor, measured)
            + " (epoch_metrics=[…] adds more)"
        )


def name_of(found: Any) -> str:
    return found.__qualname__ if hasattr(found, "__qualname__") else type(found).__name__
