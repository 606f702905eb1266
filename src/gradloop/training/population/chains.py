"""Networks that are one layer after the other, for many members at once: a batched product a layer, no `vmap`."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional

from gradloop.networks.linear import Linear

SMALL = 400  # multiplications; aten/src/ATen/native/LinearAlgebra.cpp
Layers = list[tuple[str, nn.Module]]  # by the beginning of their weights' names
# each output is that of one input, wherever it lies
ELEMENTWISE = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
    nn.Tanh, nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid,
)  # fmt: skip


def layers_of(network: nn.Module, name: str = "") -> Layers | None:
    """Return the layers of a network that does no more than apply one after the other; None for any other."""
    if isinstance(network, nn.Sequential) and type(network).forward is nn.Sequential.forward:
        parts = [layers_of(layer, f"{name}{key}.") for key, layer in network.named_children()]
        return None if any(part is None for part in parts) else [pair for part in parts for pair in part or ()]
    whole = type(network) is nn.Flatten and (network.start_dim, network.end_dim) == (1, -1)
    return [(name, network)] if whole or type(network) in (nn.Linear, Linear, *ELEMENTWISE) else None


def outputs_of(layers: Layers, weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Return [M, B, num_outputs] for inputs [M, B, ...] and weights [M, *shape]."""
    for name, layer in layers:
        if isinstance(layer, nn.Flatten | Linear):
            inputs = inputs.flatten(2)
        if isinstance(layer, nn.Linear):
            inputs = _linear(inputs, weights[f"{name}weight"], weights.get(f"{name}bias"))
        elif not isinstance(layer, nn.Flatten):
            inputs = layer(inputs)
    return inputs


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x wᵀ + b` of every member."""
    if inputs.ndim != 3:  # sequences
        each: Any = (inputs, weight) if bias is None else (inputs, weight, bias)
        return vmap(functional.linear)(*each)
    outputs: Tensor = _Products.apply(inputs, weight, bias)
    return outputs


class _Products(torch.autograd.Function):
    """`x wᵀ + b` for x [M, B, in], w [M, out, in] and b [M, out] or None, with the bits that each member has alone.

    The gradient of w is gᵀ x, as that of a single layer; torch's own, of a batched product, is (xᵀ g)ᵀ, for which
    the BLAS library may take another kernel.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        if bias is None or inputs.shape[1] * weight[0].numel() < SMALL:
            outputs = _product(inputs, weight.mT)
            return outputs if bias is None else outputs + bias[:, None]
        return torch.baddbmm(bias[:, None], inputs, weight.mT)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        grad = grad.contiguous()  # as a lone layer's is: by its strides another kernel may be taken
        towards = _product(grad, weight) if ctx.needs_input_grad[0] else None
        return towards, _product(grad.mT, inputs), grad.sum(1) if ctx.needs_input_grad[2] else None


def _product(left: Tensor, right: Tensor) -> Tensor:
    """[M, a, b] times [M, b, c].

    torch's batched product of fewer than 400 multiplications is a plain loop, a single one is the BLAS library's,
    which fuses multiplication and addition. With rows of zeros put below, the batched one is the library's as well.
    """
    members, rows, inner = left.shape
    missing = -(-SMALL // (inner * right.shape[2])) - rows
    if missing <= 0:
        return torch.bmm(left, right)
    return torch.bmm(torch.cat([left, left.new_zeros(members, missing, inner)], 1), right)[:, :rows]
