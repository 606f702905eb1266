"""ResNet-18 in its form for small pictures."""

from collections.abc import Sequence

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from gradloop.data.knobs import channels_of


class ResNet18(ResNet):
    """torchvision's ResNet-18 (He et al. 2015, arXiv 1512.03385) with a stem that keeps the resolution.

    The first layer is a 3 x 3 convolution with stride 1 and there is no max pooling, so that pictures of 32 pixels
    reach the last stage with 4 x 4 places: 11.2 million weights. [B, C, H, W] -> [B, num_outputs].

    zero_init_residual: start every residual branch at zero (its last batch normalisation).
    """

    def __init__(self, *, input_shape: Sequence[int], num_outputs: int, zero_init_residual: bool) -> None:
        channels = channels_of("ResNet18", input_shape, least=8)
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=num_outputs, zero_init_residual=zero_init_residual)
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.maxpool = nn.Identity()
