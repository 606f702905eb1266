"""Linear, logistic and softmax regression."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn


class Linear(nn.Linear):
    """`y = x Wᵀ + b`: [B, *input_shape] -> [B, num_outputs]. Linear, logistic or softmax regression, by its loss."""

    def __init__(self, *, input_shape: Sequence[int], num_outputs: int, bias: bool) -> None:
        super().__init__(prod(input_shape), num_outputs, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(1))  # [B, C, H, W] -> [B, C*H*W]
