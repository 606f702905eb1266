"""A convolution whose weights' gradient is a few large products of matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.nn.grad import conv2d_input

SMALL = 100  # places of a picture up to which products are faster


class _Convolution(Function):
    """`conv2d` of stride 1 with padding. For weights [O, I, k, k] and an output's gradient g [B, O, H, W],

        dL/dw[:, :, i, j] = Σ over b, y, x of g[b, :, y, x] ⊗ padded[b, :, y + i, x + j]

    which for each (i, j) is one product of matrices [O, B·H·W] and [B·H·W, I].
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.padding = padding
        return functional.conv2d(inputs, weight, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None]:
        (gradient,) = gradients
        inputs, weight = ctx.saved_tensors
        padding, kernel = ctx.padding, weight.shape[2]
        inner = None
        if ctx.needs_input_grad[0]:
            inner = conv2d_input(inputs.shape, weight, gradient, padding=padding)
        height, width = gradient.shape[2:]
        outer = gradient.permute(1, 0, 2, 3).reshape(len(weight), -1)  # [O, B·H·W]
        padded = functional.pad(inputs.permute(0, 2, 3, 1), (0, 0, *[padding] * 4))  # [B, H', W', I]
        found = weight.new_empty(kernel, kernel, *weight.shape[:2])
        for i in range(kernel):
            for j in range(kernel):
                shifted = padded[:, i : i + height, j : j + width].reshape(-1, weight.shape[1])  # [B·H·W, I]
                torch.mm(outer, shifted, out=found[i, j])
        return inner, found.permute(2, 3, 0, 1), None


class Convolution(nn.Conv2d):
    """A `Conv2d` of stride 1 with padding and without bias: the same numbers but for rounding.

    oneDNN's kernel for the weights' gradient is slow in bfloat16 on small pictures of many channels; products of
    matrices then take a third of its time (two cores with AMX). Any other input goes the ordinary way.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        autocast = inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        kind = torch.get_autocast_dtype("cpu") if autocast else inputs.dtype
        if kind != torch.bfloat16 or inputs.shape[2:].numel() > SMALL or not torch.is_grad_enabled():
            return super().forward(inputs)
        with torch.autocast("cpu", enabled=False):
            return _Convolution.apply(inputs.to(kind), self.weight.to(kind), self.padding[0])
