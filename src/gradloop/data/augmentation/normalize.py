"""Normalisation: bytes to floats with mean 0 and standard deviation 1 a channel."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from gradloop.data.batches import BatchTransform
from gradloop.data.pictures.layout import is_channels_last, logical_order, memory_order, take


class Normalize(BatchTransform):
    """x' = (x / 255 - mean) / std for uint8 pictures [B, C, H, W], one pass after conversion to float32.

    mean, std: one a channel, for values from 0 to 1.
    """

    def __init__(self, *, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean = torch.tensor(mean, dtype=torch.float32)
        self.std = torch.tensor(std, dtype=torch.float32)
        self._rows: dict[tuple, tuple[Tensor, Tensor]] = {}

    def of_bytes(self, pictures: Tensor) -> Tensor:
        """Return float32 [B, C, H, W], in the order of bytes that the uint8 pictures have."""
        channels_last = is_channels_last(pictures)
        source = memory_order(pictures)
        flat = source.float().flatten(1)
        scale, shift = self._constants(source.shape[1:], channels_last, pictures.device)
        torch.addcmul(shift, flat, scale, out=flat)
        return logical_order(flat.view(source.shape), channels_last)

    def __call__(
        self, inputs: Tensor, targets: Tensor, *, epoch: int, positions: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what the network sees of a batch in evaluation: nothing random."""
        return self.of_bytes(inputs), targets

    def gather(
        self, inputs: Tensor, rows: Tensor, targets: Tensor, *, epoch: int, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take the given rows of uint8 pictures and normalise them."""
        return self.of_bytes(take(inputs, rows)), targets

    def of_unit_range(self, pictures: Tensor) -> Tensor:
        """Normalise float pictures [B, C, H, W] with values from 0 to 1, in place."""
        mean, std = (values.to(pictures.device)[:, None, None] for values in (self.mean, self.std))
        return pictures.sub_(mean).div_(std)

    def undo(self, pictures: Tensor) -> Tensor:
        """Return the pictures with values from 0 to 1, to look at."""
        mean, std = (values.to(pictures.device)[:, None, None] for values in (self.mean, self.std))
        return (pictures * std + mean).clamp_(0, 1)

    def _constants(self, shape: Sequence[int], channels_last: bool, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return scale and shift of every value of a picture, [1, C*H*W]: that loop is vectorised."""
        key = (tuple(shape), channels_last, device)
        if key not in self._rows:
            scale, shift = 1 / (255 * self.std), -self.mean / self.std
            like = (1, 1, -1) if channels_last else (-1, 1, 1)
            self._rows[key] = tuple(  # type: ignore[assignment]
                values.view(like).expand(shape).reshape(1, -1).to(device) for values in (scale, shift)
            )
        return self._rows[key]


def channel_statistics(chunks: Iterable[Tensor], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, for values from 0 to 1. chunks: uint8 [B, C, H, W].

    A histogram of the 256 values a channel: exact, and without a copy of the data in floats.
    """
    histogram = torch.zeros(channels, 256, dtype=torch.int64)
    for chunk in chunks:
        for channel in range(channels):
            values = chunk[:, channel].flatten()
            histogram[channel] += torch.bincount(values, minlength=256).cpu()
    values = torch.arange(256, dtype=torch.float64) / 255
    share = histogram.double() / histogram.sum(1, keepdim=True)
    mean = share @ values
    variance = (share * (values - mean[:, None]) ** 2).sum(1)
    std = torch.where(variance > 0, variance.sqrt(), 1.0)  # a constant channel stays at 0
    return tuple(mean.tolist()), tuple(std.tolist())
