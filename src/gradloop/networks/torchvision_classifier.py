"""Any of torchvision's classifiers, with a head for the data at hand."""

from collections.abc import Sequence
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models

from gradloop.data.knobs import channels_of
from gradloop.errors import ConfigError, DataError, did_you_mean


class TorchvisionClassifier(nn.Module):
    """[B, C, H, W] -> torchvision's network `name` -> [B, num_outputs].

    name: one of `torchvision.models.list_models(module=torchvision.models)`, such as resnet50 or
    convnext_tiny.
    weights: null for random ones, or the name of trained ones (DEFAULT, IMAGENET1K_V1 …), which are
        downloaded once; the last layer is then new, and with other than three channels the first one sums or
        repeats its colours.
    """

    def __init__(self, *, input_shape: Sequence[int], num_outputs: int, name: str, weights: str | None) -> None:
        super().__init__()
        channels = channels_of(f"TorchvisionClassifier({name})", input_shape, least=1)
        known = models.list_models(module=models)
        if name not in known:
            raise ConfigError(f"model.name={name}: torchvision has no such classifier{did_you_mean(name, known)}")
        self.name = name
        if weights is None:
            self.network = models.get_model(name, weights=None, num_classes=num_outputs)
        else:
            self.network = _trained(name, weights)
            _replace_head(self.network, num_outputs)
        # the extra heads of googlenet and inception_v3 give several results in training: one loss has no use for them
        if isinstance(self.network, models.GoogLeNet):
            self.network.aux_logits, self.network.aux1, self.network.aux2 = False, None, None
        elif isinstance(self.network, models.Inception3):
            self.network.aux_logits, self.network.AuxLogits = False, None
        if channels != 3:
            _replace_stem(self.network, channels)

    def expect_trained(self) -> None:
        """Take inputs as with trained weights, which a checkpoint brings: some networks rescale colours then."""
        if isinstance(self.network, models.GoogLeNet | models.Inception3):
            first = next(layer for layer in self.network.modules() if isinstance(layer, nn.Conv2d))
            self.network.transform_input = first.in_channels == 3

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)


def _trained(name: str, weights: str) -> nn.Module:
    choices = models.get_model_weights(name)
    if weights not in choices.__members__:
        names = ["DEFAULT", *choices.__members__]
        raise ConfigError(f"model.weights={weights}: {name} has {', '.join(names)}{did_you_mean(weights, names)}")
    try:
        return models.get_model(name, weights=choices[weights])
    except (URLError, OSError, RuntimeError) as error:
        file = choices[weights].url.rpartition("/")[2]
        folder = f"{torch.hub.get_dir()}/checkpoints"
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"model.weights={weights}: downloading failed ({reason}); put {file} into {folder}"
        ) from error


def _replace_head(network: nn.Module, num_outputs: int) -> None:
    """Exchange the last layer, which has one output a class of ImageNet, for one with `num_outputs`."""
    name, head = [
        (name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)
    ][-1]
    new: nn.Module
    if isinstance(head, nn.Linear):
        new = nn.Linear(head.in_features, num_outputs, bias=head.bias is not None)
    else:  # squeezenet
        new = nn.Conv2d(head.in_channels, num_outputs, head.kernel_size)  # type: ignore[arg-type]
        network.num_classes = num_outputs  # type: ignore[assignment]
    network.set_submodule(name, new)


def _replace_stem(network: nn.Module, channels: int) -> None:
    """Exchange the first convolution for one that takes `channels`, with the mean of its colours' weights."""
    name, stem = next((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        stem.out_channels,
        stem.kernel_size,  # type: ignore[arg-type]
        stride=stem.stride,  # type: ignore[arg-type]
        padding=stem.padding,  # type: ignore[arg-type]
        bias=stem.bias is not None,
    )
    with torch.no_grad():
        share = stem.weight.sum(1, keepdim=True) / channels
        new.weight.copy_(share.expand_as(new.weight))
        if stem.bias is not None and new.bias is not None:
            new.bias.copy_(stem.bias)
    network.set_submodule(name, new)
    if isinstance(network, models.GoogLeNet | models.Inception3):
        network.transform_input = False  # it rescales three colours
