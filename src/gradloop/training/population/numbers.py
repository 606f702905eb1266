"""What each member of a stack has to itself: its numbers, how they go on, and its state."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from lightning.pytorch import seed_everything
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradloop.config.targets import locate
from gradloop.data.data_module import DataModule
from gradloop.runs.planning import Config
from gradloop.training.build import loop_options
from gradloop.training.optimizing import optimizer_of, scheduler_of
from gradloop.training.parts import Parts
from gradloop.training.population.rows import Piece
from gradloop.training.trials import try_steps


@dataclass(frozen=True)
class Numbers:
    """What members of a stack may have otherwise than others, besides their data and weights.

    key: equal for members that share all of it. scheduler: (optimizer, steps, an epoch's) -> scheduler,
    or None. clip: the largest gradient norm or value; None or 0: no limit.
    """

    key: str
    optimizer: Callable[..., Optimizer]
    scheduler: Callable[[Optimizer, int, int], Any] | None
    loss: Callable[[Tensor, Tensor], Tensor]
    clip: float | None


def numbers_of(config: Config, parts: Parts, data: DataModule, built: dict[str, Any]) -> Numbers:
    """Build what members may differ in, once for those that share it; refuse what a lone run would refuse.

    built: what is there already.
    """
    values, build = config.values, parts.build
    clip, loss = loop_options(values["trainer"])["clip"], json.dumps(values["loss"], sort_keys=True)
    # a scheduler that follows the monitor is of one member
    follows = (target := values["scheduler"].get("_target_")) and locate("scheduler._target_", target, build.allow)
    own = id(config) if isinstance(follows, type) and issubclass(follows, ReduceLROnPlateau) else None
    key = json.dumps([loss, values["optimizer"], values["scheduler"], clip, own], sort_keys=True)
    if loss not in built:
        built[loss] = build.loss(values["loss"], parts.module.task, parts.recipe["facts"])
    if key not in built:
        optimizer = optimizer_of(build, values, parts.module.network)
        scheduler, _ = scheduler_of(build, values, parts.module.task, parts.module.own_metrics)
        weights = parts.module.parameters
        tried = SimpleNamespace(scheduler_factory=scheduler, optimizer_factory=optimizer, parameters=weights)
        try_steps(tried, data, values, 1)
        built[key] = Numbers(key, optimizer, scheduler, built[loss], clip)
    found: Numbers = built[key]
    return found


def built_alone(parts: Parts, values: dict[str, Any]) -> tuple[nn.Module, Any]:
    """Return the network and the loss as a lone run with these values builds them."""
    seed_everything(values["seed"], verbose=False)
    network = parts.build.network(values["model"], parts.recipe["facts"])
    return network, parts.build.loss(values["loss"], parts.module.task, parts.recipe["facts"])


def alike(one: Any, other: Any) -> bool:
    """Whether two networks or losses that were built from one config are the same but for their weights.

    What can't be compared, as functions of each their own, is not the same.
    """
    if not isinstance(one, nn.Module) or not isinstance(other, nn.Module):
        return type(one) is type(other)
    return _kinds(one) == _kinds(other) and all(map(_same, one.modules(), other.modules()))


def _kinds(network: nn.Module) -> tuple[list[Any], list[Any]]:
    layers = [(name, type(layer)) for name, layer in network.named_modules()]
    return layers, [(name, weight.shape) for name, weight in network.named_parameters()]


def _same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two layers are the same in what they hold besides what every layer of torch's does."""
    every = vars(nn.Module())
    mine, theirs = ({name: v for name, v in vars(layer).items() if name not in every} for layer in (one, other))
    try:
        return mine.keys() == theirs.keys() and all(
            torch.equal(value, theirs[name]) if isinstance(value, Tensor) else bool(value == theirs[name])
            for name, value in mine.items()
        )
    except (TypeError, ValueError, RuntimeError):
        return False


@dataclass
class State:
    """One member's weights, and what its optimizer and scheduler hold, as in a checkpoint; None: not begun."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Any] | None = None
    scheduler: dict[str, Any] | None = None
    average: dict[str, Tensor] | None = None
    gradients: dict[str, Tensor] | None = None  # that wait for the next batch


class Pace:
    """The numbers of an optimizer as a lone run has them from step to step: its scheduler acts on a dummy weight.

    rows: of the members that share them. stepped: the rate of the epoch's newest step, if it has one.
    """

    pieces: list[Piece]  # of those members' weights

    def __init__(self, numbers: Numbers, steps: int, state: State, rows: slice) -> None:
        self.rows, self.clip = rows, numbers.clip
        self.stepped: dict[str, float] = {}
        self.optimizer = numbers.optimizer([nn.Parameter(torch.zeros(1))])
        self.group = self.optimizer.param_groups[0]
        self.scheduler = numbers.scheduler(self.optimizer, steps, steps) if numbers.scheduler else None
        self.optimizer.step()  # of no gradient: else the scheduler warns that it is stepped first
        if state.optimizer is not None:
            self.group.update({k: v for k, v in state.optimizer["param_groups"][0].items() if k != "params"})
        if self.scheduler is not None and state.scheduler is not None:
            self.scheduler.load_state_dict(state.scheduler)

    @property
    def now(self) -> dict[str, Any]:
        return {name: value for name, value in self.group.items() if name != "params"}
