"""An optimizer that is given all weights side by side takes the very steps of one that is given each."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop

from gradloop.training.loop.side_by_side import LARGEST, ONE_THREAD, SideBySide, side_by_side

OPTIMIZERS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.1, "momentum": 0.9}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    (Adam, {"lr": 0.01}),
    (Adam, {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    (AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    (Adagrad, {"lr": 0.1, "lr_decay": 0.01}),
    (Adadelta, {"lr": 1.0}),
    (Adamax, {"lr": 0.01}),
    (NAdam, {"lr": 0.01}),
    (RAdam, {"lr": 0.01}),
    (RMSprop, {"lr": 0.01, "momentum": 0.5, "centered": True}),
]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 16), nn.Tanh(), nn.Linear(16, 3))


def first_step(make: Any) -> tuple[nn.Sequential, Optimizer]:
    """Return a network and its optimizer, which has taken a step."""
    trained = network()
    optimizer = make(trained)
    train(trained, optimizer, 1)
    return trained, optimizer


def train(trained: nn.Module, optimizer: Any, steps: int, *, clip: float | None = None) -> None:
    generator = torch.Generator().manual_seed(steps)
    for _ in range(steps):
        trained.zero_grad()
        inputs = torch.randn(8, 5, generator=generator)
        (trained(inputs) - inputs[:, :3]).square().mean().backward()
        if clip:
            nn.utils.clip_grad_norm_(trained.parameters(), clip)
        optimizer.step()


def equal(one: nn.Module, other: nn.Module, optimizers: tuple[Optimizer, Optimizer]) -> bool:
    """Whether two networks and their optimizers' states are the same, to the bit."""
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for number, held in states[0]["state"].items():
        assert held.keys() == states[1]["state"][number].keys()
        for name, value in held.items():
            other_value = states[1]["state"][number][name]
            same = torch.equal(value, other_value) if isinstance(value, torch.Tensor) else value == other_value
            assert same, (number, name)
    return True


@pytest.mark.parametrize(("optimizer", "options"), OPTIMIZERS)
def test_steps_are_the_same(optimizer: type[Optimizer], options: dict[str, Any]) -> None:
    def make(of: nn.Sequential) -> Optimizer:
        groups = [{"params": of[0].parameters(), "lr": 0.003}, {"params": of[2:].parameters()}]
        return optimizer(groups, **options)

    (lone, lone_optimizer), (whole, whole_optimizer) = first_step(make), first_step(make)
    stepping = side_by_side(whole_optimizer)
    assert stepping is not None
    for rate in (0.01, 0.02):
        train(lone, lone_optimizer, 20, clip=0.5)
        train(whole, stepping, 20, clip=0.5)
        assert equal(lone, whole, (lone_optimizer, whole_optimizer))
        lone_optimizer.param_groups[1]["lr"] = whole_optimizer.param_groups[1]["lr"] = rate


def replace_a_weight(of: nn.Sequential) -> None:
    of[2].weight.data = of[2].weight.detach() * 2


def freeze_a_weight(of: nn.Sequential) -> None:
    of[2].bias.requires_grad_(False)


@pytest.mark.parametrize("change", [replace_a_weight, freeze_a_weight])
def test_it_goes_on_by_itself_where_weights_are_no_longer_side_by_side(change: Any) -> None:
    def make(of: nn.Module) -> Optimizer:
        return Adam(of.parameters(), lr=0.01)

    (lone, lone_optimizer), (whole, whole_optimizer) = first_step(make), first_step(make)
    stepping = side_by_side(whole_optimizer)
    assert stepping is not None
    for trained, optimizer in ((lone, lone_optimizer), (whole, stepping)):
        train(trained, optimizer, 5)
        change(trained)
        train(trained, optimizer, 5)
    assert equal(lone, whole, (lone_optimizer, whole_optimizer))


def test_a_step_of_the_optimizer_itself_counts() -> None:
    def make(of: nn.Module) -> Optimizer:
        return AdamW(of.parameters(), lr=0.01)

    (lone, lone_optimizer), (whole, whole_optimizer) = first_step(make), first_step(make)
    stepping = side_by_side(whole_optimizer)
    assert stepping is not None
    for optimizer in (stepping, whole_optimizer, stepping):
        train(lone, lone_optimizer, 4)
        train(whole, optimizer, 4)
    assert equal(lone, whole, (lone_optimizer, whole_optimizer))


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda of: SGD(of.parameters(), lr=0.1),
        lambda of: Adam(of.parameters(), fused=True),
        lambda of: Adam(of.parameters(), foreach=True),
        lambda of: torch.optim.Rprop(of.parameters()),
        lambda of: type("Own", (Adam,), {})(of.parameters()),
        lambda of: Adam([of[0].weight]),
    ],
)
def test_other_optimizers_step_themselves(optimizer: Any) -> None:
    assert side_by_side(first_step(optimizer)[1]) is None


def test_other_networks_step_themselves() -> None:
    most = LARGEST if torch.get_num_threads() == 1 else ONE_THREAD
    for changed in (network().double(), nn.Sequential(nn.Linear(most // 64, 64), nn.Linear(64, 1))):
        optimizer = Adam(changed.parameters())
        for weight in changed.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        assert side_by_side(optimizer) is None


def test_what_is_kept_of_the_optimizer_is_its_own() -> None:
    trained, optimizer = first_step(lambda of: Adam(of.parameters(), lr=0.01))
    stepping = SideBySide(optimizer)
    train(trained, stepping, 3)
    kept = copy.deepcopy(optimizer.state_dict())
    train(trained, stepping, 3)
    later = optimizer.state_dict()
    assert [held["step"].item() for held in kept["state"].values()] == [4.0] * 6
    assert [held["step"].item() for held in later["state"].values()] == [7.0] * 6
