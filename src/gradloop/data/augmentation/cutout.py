"""Cutout: squares of a picture are blanked (DeVries & Taylor 2017, arXiv 1708.04552)."""

from typing import NamedTuple

import torch
from torch import Tensor

from gradloop.data.augmentation.geometry import choose
from gradloop.data.knobs import check
from gradloop.errors import ConfigError


class Squares(NamedTuple):
    """Which pictures of an epoch have squares, bool [N]; their first rows and columns, int64 [N, count]."""

    chosen: Tensor
    top: Tensor
    left: Tensor


class Cutout:
    """Blank `count` squares of `side` pixels, at random places, in a share `probability` of the pictures.

    side: pixels; null for `fraction` of the shorter edge.
    fill: the value written, after normalisation: 0 is the mean colour of the training pictures (of digits, which are
        not normalised, black).
    placement: `inside` keeps the square whole, every such place equally likely; `clipped` draws its centre
        among all pixels and cuts off what lies outside, as the paper does.
    """

    def __init__(
        self, *, probability: float, side: int | None, fraction: float, count: int, fill: float, placement: str
    ) -> None:
        self.probability, self.side, self.fraction = probability, side, fraction
        self.count, self.fill, self.placement = count, fill, placement
        check("augmentation.cutout", "Cutout", **vars(self))
        self.active = probability > 0
        self.draws = 1 + 2 * count

    def check(self, height: int, width: int) -> None:
        """Raise `ConfigError` if the square can't lie inside a picture of height x width pixels."""
        if self.side is not None and self.side > min(height, width) and self.placement == "inside":
            raise ConfigError(
                f"augmentation.cutout.side={self.side}: expected a whole number from 1 to"
                f" {min(height, width)}, the picture's shorter edge (or placement=clipped)"
            )

    def side_for(self, height: int, width: int) -> int:
        """Return the square's side in pixels."""
        return self.side if self.side is not None else max(1, round(self.fraction * min(height, width)))

    def plan(self, uniform: Tensor, height: int, width: int) -> Squares:
        """Turn uniform numbers [N, 1 + 2 count] into squares of pictures of height x width pixels."""
        side = self.side_for(height, width)
        down, right = uniform[:, 1 : 1 + self.count], uniform[:, 1 + self.count :]
        chosen = uniform[:, 0] < self.probability
        if self.placement == "inside":
            return Squares(chosen, choose(down, height - side + 1), choose(right, width - side + 1))
        return Squares(chosen, choose(down, height) - side // 2, choose(right, width) - side // 2)

    def apply(self, pictures: Tensor, squares: Squares) -> Tensor:
        """Blank the squares in place. pictures: float [B, C, H, W] of the caller's own."""
        height, width = pictures.shape[2:]
        steps = torch.arange(self.side_for(height, width), device=pictures.device)
        chosen = squares.chosen.nonzero()[:, 0]
        pixels = pictures.permute(0, 2, 3, 1)  # [B, H, W, C]: the three indices are neighbours
        for down, right in zip(squares.top[chosen].unbind(1), squares.left[chosen].unbind(1), strict=True):
            # a clipped square begins inside or before the edge: clamping repeats pixels of its own
            rows = (down[:, None] + steps).clamp_(0, height - 1)
            columns = (right[:, None] + steps).clamp_(0, width - 1)
            pixels[chosen[:, None, None], rows[:, :, None], columns[:, None, :]] = self.fill
        return pictures
