"""MixUp and CutMix of whole batches: neighbours are mixed in pairs, labels become probabilities."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gradloop.data.knobs import check


class Mixes(NamedTuple):
    """How the pairs of an epoch are mixed, [N] each, equal for positions 2i and 2i + 1."""

    share: Tensor  # lambda: how much of the picture stays its own
    cut: Tensor  # bool: CutMix (else MixUp)
    down: Tensor  # the box's centre as shares of height and width
    right: Tensor


class Mix:
    """Mix each picture with its neighbour: x' = lambda x + (1 - lambda) x_neighbour, likewise the labels.

    lambda ~ Beta(alpha, alpha), one a pair. MixUp (arXiv 1710.09412) blends; CutMix (arXiv 1905.04899)
    replaces a box with a share 1 - lambda of the area, cut off at the edges, and lambda becomes the share
    that is left. With both on, each pair takes one of them by the toss of a coin. Positions 2i and 2i + 1 are
    a pair, so that any even batch size gives the same pictures; the odd one out at the end of a batch stays
    as it is.
    """

    draws = 4

    def __init__(self, *, mixup_alpha: float, cutmix_alpha: float) -> None:
        self.mixup_alpha, self.cutmix_alpha = mixup_alpha, cutmix_alpha
        check("augmentation.mixup", "Mix", alpha=mixup_alpha)
        check("augmentation.cutmix", "Mix", alpha=cutmix_alpha)
        self.active = mixup_alpha > 0 or cutmix_alpha > 0

    def plan(self, uniform: Tensor) -> Mixes:
        """Turn uniform numbers [N, 4] into mixes; the first of a pair decides for both."""
        first = uniform[0::2]
        if self.mixup_alpha > 0 and self.cutmix_alpha > 0:
            cut = first[:, 1] < 0.5
        else:
            cut = torch.full((len(first),), self.cutmix_alpha > 0)
        mixed = _beta(first[:, 0], self.mixup_alpha)
        share = torch.where(cut, _beta(first[:, 0], self.cutmix_alpha), mixed)
        pairs = (share, cut, first[:, 2], first[:, 3])
        return Mixes(*(values.repeat_interleave(2)[: len(uniform)] for values in pairs))

    def apply(self, pictures: Tensor, targets: Tensor, mixes: Mixes, num_classes: int) -> tuple[Tensor, Tensor]:
        """Return mixed pictures and probabilities [B, K]. pictures: float [B, C, H, W]; targets: [B]."""
        own = torch.arange(len(pictures), device=pictures.device)
        # one process of several holds every n-th position
        mixes = Mixes(*(values[own - own % 2] for values in mixes))
        partner = own ^ 1
        partner = torch.where(partner < len(own), partner, own)
        others = pictures.index_select(0, partner)
        share = mixes.share
        if self.cutmix_alpha > 0:
            box, left = _boxes(mixes, *pictures.shape[2:])
            cut_here = mixes.cut[:, None, None, None]
            cut = torch.where(box & cut_here, others, pictures)
            share = torch.where(mixes.cut, left, share)
        if self.mixup_alpha > 0:
            weight = mixes.share if self.cutmix_alpha == 0 else mixes.share.masked_fill(mixes.cut, 1.0)
            blended = torch.lerp(others, pictures, weight[:, None, None, None])
            pictures = blended if self.cutmix_alpha == 0 else torch.where(cut_here, cut, blended)
        else:
            pictures = cut
        probabilities = functional.one_hot(targets, num_classes).to(pictures.dtype)
        return pictures, torch.lerp(probabilities[partner], probabilities, share[:, None])


def _beta(uniform: Tensor, alpha: float) -> Tensor:
    """Turn uniform numbers into draws of Beta(alpha, alpha): its quantile function."""
    if alpha in (0, 1):  # off, or already uniform
        return uniform
    from scipy.stats import beta  # a second to import: only for those who mix

    return torch.from_numpy(beta.ppf(uniform.double().numpy(), alpha, alpha)).float()


def _boxes(mixes: Mixes, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the boxes of CutMix, bool [B, 1, H, W], and the share of each picture outside its box, [B]."""
    edge = (1 - mixes.share).sqrt()
    inside = []
    outside_share: Tensor | float = 1.0
    for centre, length in ((mixes.down, height), (mixes.right, width)):
        middle, half = (centre * length).long(), (edge * length / 2).long()
        start, stop = (middle - half).clamp_(0, length), (middle + half).clamp_(0, length)
        steps = torch.arange(length, device=edge.device)
        inside.append((steps >= start[:, None]) & (steps < stop[:, None]))
        outside_share = outside_share * (stop - start) / length
    box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return box, 1 - torch.as_tensor(outside_share, dtype=torch.float32, device=edge.device)
