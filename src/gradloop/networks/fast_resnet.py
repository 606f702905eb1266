"""A small residual network for training on a processor in minutes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradloop.data.knobs import channels_of, check
from gradloop.errors import ConfigError
from gradloop.networks.convolution import Convolution
from gradloop.networks.resnet9 import Residual

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "celu": nn.CELU,
}


class FastResNet(nn.Module):
    """A stem, a stage for each of `widths`, a pool over all places, a linear layer.

    [B, C, H, W] -> stem -> {convolution, half the size, `depths` residuals} a stage -> [B, num_outputs]. The
    stem sees most pixels: its stride decides most of the cost.

    stem: `whitening` is a fixed layer, set once by `initialize` from training patches: its outputs come in pairs,
        one the other's negative, those of different pairs uncorrelated with variance about 1 (Jordan 2024, arXiv
        2404.00498); `convolution` is an ordinary one.
    stem_width: channels of an ordinary stem; a whitening one has 2 * C * kernel².
    stem_kernel, stem_stride: pixels. Both stems leave the edge as it is: no padding.
    widths, depths: channels of each stage, and its number of blocks `x + f(x)` after the first convolution.
    residual_convolutions: how many convolutions f has. skip: whether x is added at all; a plain network is `f(x)`.
    downsample: how a stage halves height and width: `max_pool` after its convolution, or its `stride`, which
        costs a quarter. The first stage halves only if `downsample_first`.
    activation: relu | gelu | silu | celu.
    pool: `max` or `mean` over the places that are left.
    output_scale: factor of the logits.
    batch_norm_momentum: share of the running statistics that a batch renews.
    batch_norm_scale: whether the normalisations learn a scale beside their shift.
    dirac: let convolutions begin as the identity, as far as channels go around (else Kaiming).
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_outputs: int,
        stem: str,
        stem_width: int,
        stem_kernel: int,
        stem_stride: int,
        widths: Sequence[int],
        depths: Sequence[int],
        residual_convolutions: int,
        skip: bool,
        downsample: str,
        downsample_first: bool,
        activation: str,
        pool: str,
        output_scale: float,
        batch_norm_momentum: float,
        batch_norm_scale: bool,
        dirac: bool,
    ) -> None:
        super().__init__()
        channels = channels_of("FastResNet", input_shape, least=8)
        if not widths or len(widths) != len(depths):
            raise ConfigError(
                f"model.widths={list(widths)}, model.depths={list(depths)}: expected as many of one as of the other"
            )
        check("model", "FastResNet", stem=stem, stem_width=stem_width, stem_kernel=stem_kernel,
              stem_stride=stem_stride, depths=depths, residual_convolutions=residual_convolutions,
              downsample=downsample, activation=activation, pool=pool,
              batch_norm_momentum=batch_norm_momentum)  # fmt: skip
        self.activation, self.momentum = ACTIVATIONS[activation], batch_norm_momentum
        self.scale = batch_norm_scale
        self.convolutions = residual_convolutions
        self.skip = skip
        width = 2 * channels * stem_kernel**2 if stem == "whitening" else stem_width
        self.whitening = stem == "whitening"
        self.stem = nn.Conv2d(channels, width, stem_kernel, stride=stem_stride, bias=self.whitening)
        if self.whitening:
            self.stem.weight.requires_grad_(False)
            nn.init.zeros_(self.stem.bias)  # type: ignore[arg-type]
            self.after_stem: nn.Module = self.activation()
        else:
            self.after_stem = nn.Sequential(self._norm(width), self.activation())
        stages: list[nn.Module] = []
        for index, (outputs, depth) in enumerate(zip(widths, depths, strict=True)):
            half = index > 0 or downsample_first
            stages.append(self._block(width, outputs, downsample if half else None))
            stages += [self._residual(outputs) for _ in range(depth)]
            width = outputs
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveMaxPool2d(1) if pool == "max" else nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, num_outputs, bias=False)
        self.output_scale = output_scale
        if dirac:
            for layer in self.stages.modules():
                if isinstance(layer, nn.Conv2d):
                    with torch.no_grad():
                        nn.init.dirac_(layer.weight[: layer.in_channels])

    def _norm(self, width: int) -> nn.BatchNorm2d:
        norm = nn.BatchNorm2d(width, momentum=self.momentum)
        norm.weight.requires_grad_(self.scale)
        return norm

    def _block(self, inputs: int, outputs: int, downsample: str | None) -> nn.Sequential:
        stride = 2 if downsample == "stride" else 1
        kind = nn.Conv2d if stride > 1 else Convolution
        layers: list[nn.Module] = [kind(inputs, outputs, 3, stride=stride, padding=1, bias=False)]
        if downsample == "max_pool":
            layers.append(nn.MaxPool2d(2))  # before normalisation and activation: they then see a quarter
        return nn.Sequential(*layers, self._norm(outputs), self.activation())

    def _residual(self, width: int) -> nn.Module:
        blocks = [self._block(width, width, None) for _ in range(self.convolutions)]
        return Residual(*blocks) if self.skip else nn.Sequential(*blocks)

    @torch.no_grad()
    def initialize(self, inputs: Tensor) -> None:
        """Set the whitening stem from pictures as training sees them: float [N, C, H, W], some thousand of them.

        With the eigenvectors v_i and eigenvalues e_i of the patches' covariance, the filters are
        ± v_i / sqrt(e_i + 5e-4).
        """
        if not self.whitening:
            return
        channels, kernel = self.stem.in_channels, self.stem.kernel_size[0]
        size, count = channels * kernel**2, 0
        total, products = torch.zeros(size).double(), torch.zeros(size, size).double()
        for some in inputs.cpu().split(max(1, 2**22 // inputs[0].numel())):  # in double they take much memory
            patches = some.unfold(2, kernel, 1).unfold(3, kernel, 1)  # [N, C, H', W', k, k]
            patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, size).double()
            total, products, count = total + patches.sum(0), products + patches.T @ patches, count + len(patches)
        mean = total / count
        values, vectors = torch.linalg.eigh(products / count - mean.outer(mean))
        filters = (vectors / (values + 5e-4).sqrt()).T.reshape(-1, channels, kernel, kernel).flip(0)
        self.stem.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, inputs: Tensor) -> Tensor:
        places = self.stages(self.after_stem(self.stem(inputs)))
        return self.head(self.pool(places).flatten(1)) * self.output_scale  # [B, width, 1, 1] -> [B, width]
