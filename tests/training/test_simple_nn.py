"""SimpleNN and Linear."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradloop.errors import ConfigError
from gradloop.networks.linear import Linear
from gradloop.networks.simple_nn import ACTIVATIONS, SimpleNN


def make(**changes) -> SimpleNN:
    knobs = {"input_shape": (20,), "num_outputs": 2, "hidden_dims": [64], "activation": "relu", "dropout": 0.0}
    return SimpleNN(**{**knobs, **changes})


def test_it_is_the_tutorials_network():
    network = make()
    assert [type(layer) for layer in network] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [tuple(p.shape) for p in network.parameters()] == [(64, 20), (64,), (2, 64), (2,)]
    x = torch.randn(7, 20)
    first, _, last = network
    by_hand = (x @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
    torch.testing.assert_close(network(x), by_hand)


@pytest.mark.parametrize("hidden_dims", [[], [3], [5, 4, 3]])
@pytest.mark.parametrize("input_shape", [(6,), (1, 8, 8), (3, 4, 5)])
def test_any_depth_and_any_shape_of_sample(hidden_dims, input_shape):
    network = make(input_shape=input_shape, hidden_dims=hidden_dims, num_outputs=4)
    assert network(torch.randn(2, *input_shape)).shape == (2, 4)
    assert sum(isinstance(layer, nn.Linear) for layer in network) == len(hidden_dims) + 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_follows_every_hidden_layer(activation):
    network = make(hidden_dims=[5, 4], activation=activation)
    assert sum(type(layer) is ACTIVATIONS[activation] for layer in network) == 2


def test_dropout_works_in_training_alone():
    torch.manual_seed(0)
    network = make(dropout=0.5)
    x = torch.randn(4, 20)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"activation": "rleu"}, "did you mean 'relu'"),
        ({"activation": 3}, "expected one of"),
        ({"hidden_dims": [4, 0]}, "expected 1 or more"),
        ({"dropout": 1.0}, "expected at least 0 and below 1"),
    ],
)
def test_wrong_knobs(changes, words):
    with pytest.raises(ConfigError, match=words):
        make(**changes)


def test_linear_is_y_equals_x_w_transposed_plus_b():
    network = Linear(input_shape=(2, 3), num_outputs=4, bias=True)
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(network(x), x.flatten(1) @ network.weight.T + network.bias)
    assert Linear(input_shape=(2,), num_outputs=1, bias=False).bias is None
