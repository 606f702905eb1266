import pytest
import torch
from torch import nn

from gradloop.errors import ConfigError
from gradloop.networks.convolution import Convolution
from gradloop.networks.fast_resnet import FastResNet
from gradloop.networks.resnet9 import ResNet9
from gradloop.networks.resnet18 import ResNet18

FAST = {
    "stem": "whitening",
    "stem_width": 16,
    "stem_kernel": 2,
    "stem_stride": 1,
    "widths": [16, 24],
    "depths": [0, 1],
    "residual_convolutions": 2,
    "skip": True,
    "downsample": "max_pool",
    "downsample_first": True,
    "activation": "gelu",
    "pool": "max",
    "output_scale": 0.125,
    "batch_norm_momentum": 0.1,
    "batch_norm_scale": True,
    "dirac": True,
}


def build(kind, shape, outputs, **changes):
    if kind is FastResNet:
        return FastResNet(input_shape=shape, num_outputs=outputs, **{**FAST, **changes})
    knobs = {"width": 4, "output_scale": 0.125} if kind is ResNet9 else {"zero_init_residual": False}
    return kind(input_shape=shape, num_outputs=outputs, **{**knobs, **changes})


@pytest.mark.parametrize("kind", [ResNet9, ResNet18, FastResNet])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 9, 21), (4, 24, 16)])
def test_any_picture_from_8_pixels_on(kind, shape):
    network = build(kind, shape, 7)
    outputs = network(torch.randn(2, *shape))
    assert outputs.shape == (2, 7)
    outputs.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters() if weight.requires_grad)


@pytest.mark.parametrize("kind", [ResNet9, ResNet18, FastResNet])
@pytest.mark.parametrize("shape", [(20,), (3, 7, 32)])
def test_other_data_is_refused_in_one_line(kind, shape):
    with pytest.raises(ConfigError, match=r"takes pictures \(channels, height, width\) of 8 pixels or more"):
        build(kind, shape, 10)


def weights(network):
    return sum(weight.numel() for weight in network.parameters())


def test_sizes_are_those_that_are_documented():
    assert 6.5e6 < weights(build(ResNet9, (3, 32, 32), 10, width=64)) < 6.7e6
    assert 11.1e6 < weights(build(ResNet18, (3, 32, 32), 10)) < 11.3e6


def test_resnet18_keeps_the_resolution_of_small_pictures():
    network = build(ResNet18, (3, 32, 32), 10)
    shapes = []
    network.layer4.register_forward_hook(lambda *args: shapes.append(args[2].shape))
    network(torch.randn(1, 3, 32, 32))
    assert shapes == [(1, 512, 4, 4)]


@pytest.mark.parametrize(
    "changes",
    [
        {"stem": "convolution", "stem_kernel": 3},
        {"downsample": "stride", "pool": "mean", "activation": "celu"},
        {"downsample_first": False, "depths": [2, 0], "dirac": False, "batch_norm_scale": False},
        {"residual_convolutions": 1},
    ],
)
def test_fast_resnet_knobs(changes):
    assert build(FastResNet, (3, 16, 16), 5, **changes)(torch.randn(2, 3, 16, 16)).shape == (2, 5)


def test_a_whitening_stem_whitens_and_stays_fixed():
    mixing = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(500, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    pictures = 5 * torch.einsum("ij,njhw->nihw", mixing, nn.functional.avg_pool2d(noise, 3, 1, 1)) + 0.3
    network = build(FastResNet, (3, 16, 16), 10)
    network.initialize(pictures)
    seen = network.stem(pictures)[:, :12].transpose(0, 1).flatten(1)  # the other half is the negative
    assert torch.allclose(torch.cov(seen), torch.eye(12), atol=0.1)
    assert torch.equal(network.stem.weight[:12], -network.stem.weight[12:])
    assert not network.stem.weight.requires_grad


def test_an_ordinary_stem_learns():
    network = build(FastResNet, (3, 16, 16), 10, stem="convolution")
    before = network.stem.weight.clone()
    network.initialize(torch.randn(10, 3, 16, 16))
    assert torch.equal(network.stem.weight, before)
    assert network.stem.weight.requires_grad


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"activation": "rellu"}, r"model\.activation=rellu: expected one of relu, .*; did you mean 'relu'"),
        ({"stem": "white"}, r"model\.stem=white: expected whitening or convolution"),
        ({"depths": [1]}, r"model\.widths=\[16, 24\], model\.depths=\[1\]: expected as many"),
    ],
)
def test_mistakes_are_one_line(changes, line):
    with pytest.raises(ConfigError, match=line):
        build(FastResNet, (3, 32, 32), 10, **changes)


@pytest.mark.parametrize(("mixed", "batch"), [(False, 6), (True, 6), (True, 16), (True, 5)])
def test_pictures_side_by_side_give_what_each_gives_alone(mixed, batch):
    torch.manual_seed(0)
    ours = Convolution(12, 20, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    inputs, gradient = torch.randn(batch, 12, 7, 5), torch.randn(batch, 20, 7, 5)
    found = []
    for layer in (ours, lambda x: nn.Conv2d.forward(ours, x)):
        given, ours.weight.grad = inputs.clone().requires_grad_(), None
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            outputs = layer(given)
        outputs.backward(gradient.to(outputs.dtype))
        found.append((outputs, given.grad, ours.weight.grad))
    assert outputs.dtype == (torch.bfloat16 if mixed else torch.float32)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2 * float(b.detach().abs().max()))
