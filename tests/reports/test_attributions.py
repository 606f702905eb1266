"""What attributions must be for models whose answer is known."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from gradloop.errors import ConfigError
from gradloop.reports.attributions import (
    integrated_gradients,
    occlusion,
    permutation_importance,
    require_captum,
    saliency,
    score_function,
)
from small_modules import small_module

pytest.importorskip("captum")


def linear(features: int, outputs: int, task: str) -> nn.Module:
    torch.manual_seed(0)
    return small_module(nn.Linear(features, outputs), task, (features,), outputs)


def small_cnn() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 3))
    return small_module(network, "multiclass", (2, 6, 6), 3)


def test_a_missing_captum_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ConfigError, match=r"needs captum: pip install 'gradloop\[explain\]'"):
        require_captum()


def test_saliency_of_a_linear_model_is_the_size_of_its_weights() -> None:
    module = linear(5, 3, "multiclass")
    columns = torch.tensor([0, 2, 1, 2])
    found = saliency(module, torch.randn(4, 5), columns)
    assert torch.equal(found, module.network.weight.detach().abs()[columns])


@pytest.mark.parametrize("column", [0, 1])
def test_a_binary_score_speaks_for_the_class_that_is_asked(column: int) -> None:
    module = linear(4, 1, "binary")
    inputs, columns = torch.randn(3, 4), torch.full((3,), column)
    sign = 1 if column == 1 else -1
    found = integrated_gradients(module, inputs, columns, steps=4)
    assert torch.allclose(found, sign * inputs * module.network.weight.detach(), atol=1e-5)


def test_integrated_gradients_add_up_to_the_change_of_the_score() -> None:
    module = small_cnn()
    inputs, columns = torch.randn(5, 2, 6, 6), torch.tensor([0, 1, 2, 1, 0])
    found = integrated_gradients(module, inputs, columns, steps=64)
    scores = score_function(module)
    with torch.no_grad():
        change = (scores(inputs) - scores(torch.zeros_like(inputs))).gather(1, columns[:, None])[:, 0]
    assert torch.allclose(found.flatten(1).sum(1), change, atol=1e-3)


def test_occlusion_blames_only_the_square_that_matters() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].weight[0].view(8, 8)[:2, :2] = 1  # the score sees the upper left corner alone
    module = small_module(network, "multiclass", (1, 8, 8), 2)
    found = occlusion(module, torch.ones(3, 1, 8, 8), torch.zeros(3, dtype=torch.long), side=0.25)
    assert found.shape == (3, 1, 8, 8)
    assert found[0, 0, 0, 0] == 4
    assert (found[:, :, 3:, 3:] == 0).all()


def test_explaining_changes_neither_weights_nor_inputs() -> None:
    module = small_cnn()
    inputs, columns = torch.randn(2, 2, 6, 6), torch.tensor([0, 1])
    before, weights = inputs.clone(), {k: v.clone() for k, v in module.state_dict().items()}
    saliency(module, inputs, columns)
    integrated_gradients(module, inputs, columns, steps=3)
    occlusion(module, inputs, columns, side=0.5)
    assert torch.equal(inputs, before)
    assert not inputs.requires_grad
    assert all(torch.equal(weights[k], v) for k, v in module.state_dict().items())


def test_an_unused_feature_has_no_importance_and_a_used_one_has() -> None:
    torch.manual_seed(0)
    table = torch.randn(200, 3)
    labels = table[:, 1] > 0

    def accuracy(inputs: torch.Tensor) -> float:
        return float(((inputs[:, 1] > 0) == labels).float().mean())

    mean, spread = permutation_importance(accuracy, table, repeats=5, seed=0)
    assert mean[0] == mean[2] == spread[0] == 0
    assert 0.4 < mean[1] < 0.6  # half of the shuffled signs are wrong
    again, _ = permutation_importance(accuracy, table, repeats=5, seed=0)
    other, _ = permutation_importance(accuracy, table, repeats=5, seed=1)
    assert torch.equal(mean, again)
    assert not torch.equal(mean, other)
