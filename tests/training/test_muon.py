import copy

import pytest
import torch
from torch import nn

from gradloop.optimizers.muon import Muon, orthogonalize

KNOBS = {
    "lr": 0.1,
    "momentum": 0.6,
    "bias_lr": 0.5,
    "head_lr": 0.2,
    "other_momentum": 0.9,
    "bias_weight_decay": 0.01,
    "head_weight_decay": 0.03,
    "newton_schulz_steps": 5,
    "normalize": True,
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 2), nn.Flatten(),
        nn.Linear(6 * 25, 4),
    )  # fmt: skip


def train(net, optimizer, steps):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        inputs = torch.randn(16, 3, 8, 8, generator=generator)
        loss = (net(inputs) - inputs.mean((2, 3)).repeat(1, 2)[:, :4]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24), (1, 30), (30, 1)])
def test_all_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(-1, 1, shape[1]))
    before = torch.linalg.svdvals(matrix)
    found = orthogonalize(matrix, 10)
    values = torch.linalg.svdvals(found)
    assert before.max() / before.min() > (10 if len(before) > 1 else 0)
    assert values.min() > 0.65
    assert values.max() < 1.25
    assert (matrix * found).sum() > 0  # the same singular vectors, not their opposites


def test_each_weight_gets_its_own_step():
    net = network()
    hidden = [net[0].weight, net[3].weight]
    others = [weight for weight in net.parameters() if not any(weight is h for h in hidden)]
    expected = {weight: weight.detach().clone() for weight in net.parameters()}
    optimizer = Muon(net.parameters(), **KNOBS)
    momenta = {weight: torch.zeros_like(weight) for weight in net.parameters()}
    for _ in range(3):
        train(net, optimizer, 1)
        for weight in hidden:
            momenta[weight] = 0.6 * momenta[weight] + weight.grad
            step = orthogonalize((weight.grad + 0.6 * momenta[weight]).reshape(len(weight), -1), 5)
            unit = expected[weight] * len(weight) ** 0.5 / expected[weight].norm()
            expected[weight] = unit - 0.1 * step.reshape(weight.shape)
        for weight in others:
            rate, decay = (0.2, 0.03) if weight is net[-1].weight else (0.5, 0.01)
            gradient = weight.grad + decay * expected[weight]
            momenta[weight] = 0.9 * momenta[weight] + gradient
            expected[weight] = expected[weight] - rate * (gradient + 0.9 * momenta[weight])
        for weight, value in expected.items():
            torch.testing.assert_close(weight.detach(), value, rtol=1e-4, atol=1e-6)


def test_a_scheduler_moves_all_rates_by_the_same_factor():
    net = network()
    optimizer = Muon(net.parameters(), **KNOBS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10, cycle_momentum=False)
    for _ in range(5):
        train(net, optimizer, 1)
        schedule.step()
    assert len({group["lr"] for group in optimizer.param_groups}) == 1
    bias = net[-1].bias
    before = bias.detach().clone()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(net, optimizer, 1)
    assert torch.equal(bias, before)


def test_going_on_from_its_state_is_exact():
    one = network()
    optimizer = Muon(one.parameters(), **KNOBS)
    train(one, optimizer, 2)
    other = network()
    other.load_state_dict(one.state_dict())
    resumed = Muon(other.parameters(), **KNOBS)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(one, optimizer, 2)
    train(other, resumed, 2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_frozen_weights_and_a_single_layer():
    net = network()
    net[0].weight.requires_grad_(False)
    before = net[0].weight.clone()
    optimizer = Muon(net.parameters(), **KNOBS)
    train(net, optimizer, 1)
    assert torch.equal(net[0].weight, before)
    net[0].weight.requires_grad_(True)  # a layer that thaws later is as hidden as the others
    train(net, optimizer, 1)
    assert net[0].weight.norm() != before.norm()
    assert any(weight is net[0].weight for weight in optimizer.param_groups[0]["params"])
    line = nn.Linear(3, 1)  # no hidden weight at all
    optimizer = Muon(line.parameters(), **KNOBS | {"bias_weight_decay": 0.0, "head_weight_decay": 0.0})
    for _ in range(200):
        inputs = torch.randn(32, 3)
        loss = (line(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 1e-3


def test_it_trains_digits(train):
    run = train("data=digits", "optimizer=muon", "scheduler=one_cycle", "scheduler.cycle_momentum=false",
                "trainer.max_epochs=5", "seed=0")  # fmt: skip
    assert run["metrics"]["test/accuracy"] > 0.9
