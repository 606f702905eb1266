"""Means that torch does not take: over views of a picture, and over the weights of mixed classes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad


def mean_of_weights(loss: Any, targets: Tensor) -> Tensor | float:
    """Return what a mean cross-entropy with class weights lacks for shares of classes [B, C].

    torch divides the sum of weighted losses by the sum of the weights for classes, and by B for shares.
    """
    if type(loss) is not nn.CrossEntropyLoss or loss.weight is None or loss.reduction != "mean":
        return 1.0
    return len(targets) / (targets * loss.weight).sum()


def mean_over_views(network: Callable[[Tensor], Tensor], pictures: Tensor, *, flip: bool, shift: int) -> Tensor:
    """Return the network's mean output over views of pictures [B, C, H, W].

    flip: the picture and its mirror image, equally.
    shift: pixels. The picture counts half; moved up and left by so many, and down and right, a quarter each. What
        moves in is the picture's own edge, reflected. All of it flipped as well if `flip` says so.
    """

    def both(inputs: Tensor) -> Tensor:
        return (network(inputs) + network(inputs.flip(-1))) / 2 if flip else network(inputs)

    outputs = both(pictures)
    if shift:
        height, width = pictures.shape[2:]
        wide = pad(pictures, (shift,) * 4, mode="reflect")
        moved = both(wide[:, :, :height, :width]) + both(wide[:, :, 2 * shift :, 2 * shift :])
        outputs = (outputs + moved / 2) / 2
    return outputs
