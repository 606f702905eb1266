"""ResNet-9, the small residual network of fast CIFAR-10 training (Page 2018, "How to train your ResNet")."""

from collections.abc import Sequence

from torch import Tensor, nn

from gradloop.data.knobs import channels_of, check


class ResNet9(nn.Module):
    """Eight 3 x 3 convolutions, two of the stages with a residual `x + f(x)`, and a linear layer.

    [B, C, H, W] -> width -> 2 width, /2 (residual) -> 4 width, /2 -> 8 width, /2 (residual) -> maximum over
    places -> [B, num_outputs], where /2 halves height and width. Takes pictures of 8 pixels or more.

    width: channels of the first convolution; 64 gives 6.6 million weights.
    output_scale: factor of the logits, which keeps the first steps small.
    """

    def __init__(self, *, input_shape: Sequence[int], num_outputs: int, width: int, output_scale: float) -> None:
        super().__init__()
        channels = channels_of("ResNet9", input_shape, least=8)
        check("model", "ResNet9", width=width)
        self.features = nn.Sequential(
            convolution(channels, width),
            convolution(width, 2 * width, nn.MaxPool2d(2)),
            Residual(convolution(2 * width, 2 * width), convolution(2 * width, 2 * width)),
            convolution(2 * width, 4 * width, nn.MaxPool2d(2)),
            convolution(4 * width, 8 * width, nn.MaxPool2d(2)),
            Residual(convolution(8 * width, 8 * width), convolution(8 * width, 8 * width)),
        )
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(8 * width, num_outputs, bias=False)
        self.output_scale = output_scale

    def forward(self, inputs: Tensor) -> Tensor:
        pooled = self.pool(self.features(inputs)).flatten(1)  # [B, 8 width, 1, 1] -> [B, 8 width]
        return self.head(pooled) * self.output_scale


class Residual(nn.Sequential):
    """x + f(x)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + super().forward(inputs)


def convolution(inputs: int, outputs: int, *after: nn.Module) -> nn.Sequential:
    """Return a 3 x 3 convolution with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        *after,
    )
