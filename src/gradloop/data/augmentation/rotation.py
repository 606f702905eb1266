"""Rotation of whole batches, each picture by its own angle."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gradloop.data.knobs import number


class Rotation:
    """Turn each picture around its centre by an angle from U(-degrees, degrees), bilinear.

    What would come from outside the picture is the picture mirrored at its edge: black corners would tell the
    network the angle.
    """

    draws = 1

    def __init__(self, *, degrees: float) -> None:
        self.degrees = number("augmentation.rotation.degrees", degrees, 0, 180)

    @property
    def active(self) -> bool:
        return self.degrees > 0

    def plan(self, uniform: Tensor) -> Tensor:
        """Turn uniform numbers [N, 1] into angles [N] in radians, counter-clockwise."""
        return (2 * uniform[:, 0] - 1) * self.degrees * (torch.pi / 180)

    @staticmethod
    def apply(pictures: Tensor, angles: Tensor) -> Tensor:
        """Return the turned pictures. pictures: float [B, C, H, W]; angles: [B], radians."""
        height, width = pictures.shape[2:]
        cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
        # the grid's coordinates run from -1 to 1 along both edges: pixels aren't square in them
        first = torch.stack([cos, -sin * (height / width), zero], dim=1)
        second = torch.stack([sin * (width / height), cos, zero], dim=1)
        grid = functional.affine_grid(torch.stack([first, second], dim=1), list(pictures.shape), align_corners=False)
        return functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
