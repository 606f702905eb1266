"""Products of small matrices, of many members at once, with the bits that each has alone.

torch's batched product of fewer than 400 multiplications is a plain loop, a single one is the BLAS library's, which
fuses multiplication and addition. With rows of zeros put below, the batched one is the library's as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

SMALL = 400  # multiplications; aten/src/ATen/native/LinearAlgebra.cpp


def product(left: Tensor, right: Tensor) -> Tensor:
    """[M, a, b] times [M, b, c]."""
    members, rows, inner = left.shape
    missing = -(-SMALL // (inner * right.shape[2])) - rows
    if missing <= 0:
        return torch.bmm(left, right)
    return torch.bmm(torch.cat([left, left.new_zeros(members, missing, inner)], 1), right)[:, :rows]


class Batched(torch.autograd.Function):
    """`x wᵀ` for x [M, B, in] and w [M, out, in]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return product(inputs, weight.mT)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        inputs, weight = ctx.saved_tensors
        return product(grad, weight) if ctx.needs_input_grad[0] else None, product(grad.mT, inputs)


class _Linear(torch.autograd.Function):
    """`x wᵀ + b` of one member; under vmap, of all of them."""

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(inputs, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to keep: it is only called under vmap."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
        given = (inputs, weight, bias)
        whole = [
            one if one is None else one.expand(info.batch_size, *one.shape) if dim is None else one.movedim(dim, 0)
            for one, dim in zip(given, in_dims, strict=True)
        ]
        result = Batched.apply(whole[0], whole[1])
        return (result if whole[2] is None else result + whole[2][:, None]), 0


class SmallProducts(TorchFunctionMode):
    """Lets linear layers of a vmapped network use `product`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.linear and not kwargs and args[0].ndim == 2:
            return _Linear.apply(*args, *[None] * (3 - len(args)))
        return func(*args, **(kwargs or {}))
