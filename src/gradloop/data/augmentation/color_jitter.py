"""Colour jitter of whole batches, each picture by its own factors."""

from typing import NamedTuple

import torch
from torch import Tensor

from gradloop.data.knobs import check

GREY = (0.2989, 0.587, 0.114)  # the luma weights of torchvision's `rgb_to_grayscale`


class Factors(NamedTuple):
    """Factors of an epoch, [N] each: 1, 1, 1 and 0 change nothing."""

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor


class ColorJitter:
    """Change brightness, contrast, saturation and hue, in this order, as torchvision's `adjust_*`.

    brightness, contrast, saturation: b draws a factor from U(max(0, 1 - b), 1 + b).
    hue: h draws a turn of the colour circle from U(-h, h), h <= 0.5. Grey pictures have neither saturation
    nor hue.
    """

    draws = 4

    def __init__(self, *, brightness: float, contrast: float, saturation: float, hue: float) -> None:
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        check("augmentation.color_jitter", "ColorJitter", **vars(self))
        self.active = max(brightness, contrast, saturation, hue) > 0

    def plan(self, uniform: Tensor) -> Factors:
        """Turn uniform numbers [N, 4] into factors."""
        spreads = (self.brightness, self.contrast, self.saturation)
        lows = [max(0.0, 1 - spread) for spread in spreads]
        brightness, contrast, saturation = (
            low + (1 + spread - low) * uniform[:, column]
            for column, (low, spread) in enumerate(zip(lows, spreads, strict=True))
        )
        return Factors(brightness, contrast, saturation, hue=(2 * uniform[:, 3] - 1) * self.hue)

    def apply(self, pictures: Tensor, factors: Factors) -> Tensor:
        """Return the changed pictures. pictures: float [B, C, H, W] with values from 0 to 1."""
        if self.brightness > 0:
            pictures = (pictures * _each(factors.brightness)).clamp_(0, 1)
        if self.contrast > 0:
            middle = _grey(pictures).mean(dim=(1, 2, 3), keepdim=True)
            pictures = torch.lerp(middle, pictures, _each(factors.contrast)).clamp_(0, 1)
        if pictures.shape[1] == 3 and self.saturation > 0:
            pictures = torch.lerp(_grey(pictures), pictures, _each(factors.saturation)).clamp_(0, 1)
        if pictures.shape[1] == 3 and self.hue > 0:
            pictures = shift_hue(pictures, factors.hue)
        return pictures


def _each(factors: Tensor) -> Tensor:
    return factors[:, None, None, None]


def _grey(pictures: Tensor) -> Tensor:
    if pictures.shape[1] != 3:
        return pictures
    weights = torch.tensor(GREY, device=pictures.device)[:, None, None]
    return (pictures * weights).sum(dim=1, keepdim=True)


def shift_hue(pictures: Tensor, turns: Tensor) -> Tensor:
    """Turn the colour circle of each picture, keeping saturation and value of the HSV cone.

    With value v = max(r, g, b), chroma c = v - min(r, g, b) and hue h in sixths of the circle, the channel
    whose offset is n is v - c * max(0, min(k, 4 - k, 1)), k = (n + h) mod 6, n = 5, 3, 1 for red, green,
    blue. torchvision's `adjust_hue` takes one turn for all pictures; this takes one for each.

    pictures: float [B, 3, H, W] in 0 … 1; turns: [B], in circles.
    """
    value, brightest = pictures.max(dim=1)
    chroma = value - pictures.amin(dim=1)
    red, green, blue = pictures.unbind(1)
    safe = torch.where(chroma > 0, chroma, 1)
    sixths = torch.where(brightest == 2, (red - green) / safe + 4, (blue - red) / safe + 2)
    sixths = torch.where(brightest == 0, (green - blue) / safe, sixths)
    sixths = sixths + 6 * turns[:, None, None]
    shifted = torch.empty_like(pictures)
    for channel, offset in enumerate((5, 3, 1)):
        along = (sixths + offset).remainder_(6)
        shifted[:, channel] = value - chroma * torch.minimum(along, 4 - along).clamp_(0, 1)
    return shifted
