"""The tutorials' facts, on the classes that gradloop trains with."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import gradloop
from gradloop.networks.linear import Linear
from gradloop.networks.simple_nn import ACTIVATIONS, SimpleNN
from gradloop.training.build import Builder
from gradloop.training.task import Binary, Multiclass, Regression
from saved_weights import weights_of

build = Builder()


def test_gradient_of_a_mean_of_squares():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    (2 * (x + 1) ** 2).mean().backward()
    # d/dx_i of ¼ Σ 2 (x_i + 1)² is x_i + 1
    assert torch.equal(x.grad, torch.tensor([2.0, 3.0, 4.0, 5.0]))


def test_gradients_accumulate_until_they_are_zeroed():
    network = Linear(input_shape=(2,), num_outputs=1, bias=False)
    inputs, targets = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]])
    loss = build.loss({"_target_": "torch.nn.MSELoss"}, Regression(1))
    loss(network(inputs), targets).backward()
    once = network.weight.grad.clone()
    loss(network(inputs), targets).backward()
    torch.testing.assert_close(network.weight.grad, 2 * once, rtol=0, atol=0)
    build("optimizer", {"_target_": "torch.optim.SGD", "lr": 0.1, "_partial_": True})(
        network.parameters()
    ).zero_grad()
    assert network.weight.grad is None
    loss(network(inputs), targets).backward()
    assert torch.equal(network.weight.grad, once)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_two_accumulated_batches_equal_one_of_twice_the_size(train, optimizer):
    same = ["seed=3", f"optimizer={optimizer}", "data.shuffle=false", "trainer.max_epochs=2"]
    halves = train(*same, "data.batch_size=16", "trainer.accumulate_grad_batches=2")
    whole = train(*same, "data.batch_size=32")
    apart = train(*same, "data.batch_size=16")
    for name, weight in weights_of(whole).items():
        torch.testing.assert_close(weights_of(halves)[name], weight, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(weights_of(apart)[name], weight, rtol=1e-4, atol=1e-5)


def test_mse_of_three_numbers():
    loss = build.loss({"_target_": "torch.nn.MSELoss"}, Regression(1))
    value = loss(torch.tensor([[2.5], [0.0], [2.0]]), torch.tensor([[3.0], [-0.5], [2.0]]))
    assert float(value) == pytest.approx((0.25 + 0.25 + 0) / 3, abs=1e-7)


def test_cross_entropy_is_log_softmax_and_negative_log_likelihood():
    logits, targets = torch.tensor([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]]), torch.tensor([0, 2])
    loss = build.loss({"_target_": None}, Multiclass(3))
    assert isinstance(loss, nn.CrossEntropyLoss)
    expected = functional.nll_loss(functional.log_softmax(logits, 1), targets)
    torch.testing.assert_close(loss(logits, targets), expected)
    by_hand = -sum(float(row[t] - row.exp().sum().log()) for row, t in zip(logits, targets, strict=True)) / 2
    assert float(loss(logits, targets)) == pytest.approx(by_hand, rel=1e-6)


def test_label_smoothing_mixes_in_the_mean_over_all_classes():
    logits, target, share = torch.tensor([[2.0, 1.0, 0.1]]), torch.tensor([0]), 0.1
    loss = build.loss({"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": share}, Multiclass(3))
    logs = functional.log_softmax(logits, 1)[0]
    assert float(loss(logits, target)) == pytest.approx(float(-(1 - share) * logs[0] - share * logs.mean()), rel=1e-6)


def test_bce_on_logits_is_bce_on_their_sigmoid():
    logits, targets = torch.tensor([[-1.5], [0.0], [3.0]]), torch.tensor([[0.0], [1.0], [1.0]])
    loss = build.loss({"_target_": None}, Binary(1))
    assert isinstance(loss, nn.BCEWithLogitsLoss)
    torch.testing.assert_close(loss(logits, targets), functional.binary_cross_entropy(logits.sigmoid(), targets))
    # where the sigmoid is 0 in float32, the logits still know: loss = 200
    assert float(loss(torch.tensor([[-200.0]]), torch.tensor([[1.0]]))) == pytest.approx(200)


def test_activations_at_given_points():
    points = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0])
    expected = {
        "relu": lambda x: max(0.0, x),
        "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
        "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
        "tanh": math.tanh,
        "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    }
    assert expected.keys() == ACTIVATIONS.keys()
    for name, formula in expected.items():
        network = SimpleNN(input_shape=(1,), num_outputs=1, hidden_dims=[1], activation=name, dropout=0.0)
        for layer in (network[0], network[2]):  # Linear -> activation -> Linear, both the identity
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
        values = network(points.unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(values, torch.tensor([formula(float(x)) for x in points]), msg=name)


def test_saved_and_loaded_models_agree(train):
    run = train("data=digits", "seed=1", "trainer.max_epochs=2", "model.dropout=0.3")
    module = gradloop.load(run["folder"])
    assert not module.training
    for name, weight in weights_of(run, "best").items():
        assert torch.equal(module.network.state_dict()[name], weight)
    inputs = torch.rand(5, 1, 8, 8)
    assert torch.equal(module(inputs), gradloop.load(run["folder"])(inputs))
    last = gradloop.load(run["folder"], checkpoint="last")
    assert all(torch.equal(last.network.state_dict()[name], weight) for name, weight in weights_of(run).items())
