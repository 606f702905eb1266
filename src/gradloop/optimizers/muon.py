"""Muon for networks of convolutions: momentum, made orthogonal."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.sgd import sgd

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """Return about U Vᵀ of the singular value decomposition U S Vᵀ of a matrix [M, N], by Newton-Schulz steps.

    With X = matrix / ‖matrix‖, each step is X ← a X + (b A + c A²) X, where A = X Xᵀ. The coefficients (Jordan
    2024, https://kellerjordan.github.io/posts/muon) rise fast at zero and do not end at 1: after about 7 steps all
    but tiny singular values lie, and stay, between 0.68 and 1.13; after 5, small ones are still below.
    """
    a, b, c = COEFFICIENTS
    found = matrix / (matrix.norm() + 1e-7)
    if tall := len(matrix) > matrix[0].numel():
        found = found.T
    for _ in range(steps):
        square = found @ found.T
        found = torch.addmm(found, torch.addmm(square, square, square, beta=b, alpha=c), found, beta=a)
    return found.T if tall else found


class Muon(Optimizer):
    """Muon for the hidden weights, SGD with Nesterov's momentum for the biases and for the head.

    The head is the last weight with two dimensions or more, which gives the outputs; hidden weights are the others
    of two dimensions or more; biases are all that have fewer, those of normalisations too. A convolution's
    [O, I, k, k] is a matrix [O, I·k·k]. With gradient g, momentum μ and rate η, each step of hidden weights is

        m ← μ m + g,   w ← sqrt(O) w / ‖w‖,   w ← w - η orthogonalize(g + μ m)

    where the middle part is left out without `normalize`. torch.optim.Muon takes matrices only and computes in
    bfloat16, which processors without bf16 arithmetic do slowly; this one computes in the weights' own precision.

    lr, bias_lr, head_lr: η of each kind; a scheduler moves all by the same factor.
    momentum: μ of the hidden weights. other_momentum: of biases and head.
    bias_weight_decay, head_weight_decay: added to the gradient, as torch.optim.SGD does.
    newton_schulz_steps: more raise smaller singular values; each costs three products of matrices.
    normalize: keep every hidden weight's norm at sqrt(O): for networks that normalise after each such layer.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        momentum: float,
        bias_lr: float,
        head_lr: float,
        other_momentum: float,
        bias_weight_decay: float,
        head_weight_decay: float,
        newton_schulz_steps: int,
        normalize: bool,
    ) -> None:
        weights = list(params)
        matrices = [weight for weight in weights if weight.ndim > 1]
        hidden, head = matrices[:-1], matrices[-1:]
        biases = [weight for weight in weights if weight.ndim < 2]
        rates = {"bias": (biases, bias_lr, bias_weight_decay), "head": (head, head_lr, head_weight_decay)}
        groups: list[dict[str, Any]] = [
            {"params": hidden, "orthogonal": True, "lr_factor": 1.0, "momentum": momentum, "weight_decay": 0.0}
        ]
        for members, rate, decay in rates.values():
            options = {"lr_factor": rate / lr, "momentum": other_momentum, "weight_decay": decay}
            groups.append({"params": members, "orthogonal": False, **options})
        super().__init__(groups, {"lr": lr, "newton_schulz_steps": newton_schulz_steps, "normalize": normalize})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
            buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
            if group["orthogonal"]:
                _hidden_step(weights, buffers, group)
            elif weights:
                _other_step(weights, buffers, group)
        return loss


def _hidden_step(weights: list[Tensor], buffers: list[Tensor], group: dict[str, Any]) -> None:
    for weight, buffer in zip(weights, buffers, strict=True):
        assert weight.grad is not None
        buffer.mul_(group["momentum"]).add_(weight.grad)
        change = weight.grad.add(buffer, alpha=group["momentum"])
        if group["normalize"]:
            weight.mul_(len(weight) ** 0.5 / (weight.norm() + 1e-7))
        change = orthogonalize(change.flatten(1), group["newton_schulz_steps"])
        weight.sub_(change.view_as(weight), alpha=group["lr"])


def _other_step(weights: list[Tensor], buffers: list[Tensor], group: dict[str, Any]) -> None:
    sgd(
        weights,
        [weight.grad for weight in weights],  # type: ignore[misc]
        list(buffers),
        fused=True,
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=group["lr"] * group["lr_factor"],
        dampening=0.0,
        nesterov=group["momentum"] > 0,
        maximize=False,
    )
