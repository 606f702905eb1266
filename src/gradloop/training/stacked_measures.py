"""Losses and metrics of many members at once, to the very bits that a lone run measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional

from gradloop.training.task import Task

Loss = Callable[[Tensor, Tensor], Tensor]
Values = Callable[[Tensor, Tensor], Tensor]  # outputs [M, N, ...], targets [M, N, ...] -> [M]
TRIED = 32  # members, at least: one or two may agree by chance
CASCADE = 16  # numbers that torch's `nll_loss` adds up one by one before they join the sum


class Measures:
    """What an epoch measures, for members [M, N, ...].

    For each loss and metric, the quicker ways are tried on random outputs. One that has not the bits of the lone way
    for every member is not taken: a mean may be summed in another order.
    """

    def __init__(self, task: Task, metrics: Sequence[str]) -> None:
        self.task, self.metrics = task, list(metrics)
        self.ways: dict[tuple[Any, ...], Values] = {}

    def loss(self, loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of each member: [M]."""
        kept = (id(loss), outputs.shape[1:])
        if kept not in self.ways:
            quick = [vmap(loss), *([cross_entropies] if _is_plain_cross_entropy(loss) else [])]
            self.ways[kept] = self._exact(quick, _one_by_one(loss), outputs, targets)
        return self.ways[kept](outputs, targets)

    def epoch(self, outputs: Tensor, targets: Tensor) -> list[dict[str, float]]:
        """Return the epoch's metrics, one dict a member."""
        columns = {}
        for name in self.metrics:
            kept = (name, outputs.shape[1:])
            if kept not in self.ways:

                def lone(one: Tensor, other: Tensor, name: str = name) -> Tensor:
                    return torch.tensor(self.task.measure(one, other, [name])[name], dtype=torch.float64)

                quick = {"accuracy": [accuracies], "mae": [absolute_errors]}.get(name, [])
                self.ways[kept] = self._exact(quick, _one_by_one(lone), outputs, targets)
            columns[name] = self.ways[kept](outputs, targets).tolist()
        return [{name: values[row] for name, values in columns.items()} for row in range(len(outputs))]

    def _exact(self, quick: list[Values], slow: Values, outputs: Tensor, targets: Tensor) -> Values:
        """Return the first of the quick ways that gives what the slow one gives."""
        generator, each = torch.Generator().manual_seed(0), -(-TRIED // len(outputs))
        targets = targets.repeat(each, *[1] * (targets.ndim - 1))
        shape = (len(targets), *outputs.shape[1:])
        drawn = [scale * torch.randn(shape, generator=generator) for scale in (1.0, 10.0)]
        for way in quick:
            try:
                if all(torch.equal(way(each, targets).double(), slow(each, targets).double()) for each in drawn):
                    return way
            except Exception:  # not every loss can be batched
                continue
        return slow


def _one_by_one(measure: Loss) -> Values:
    def values(outputs: Tensor, targets: Tensor) -> Tensor:
        # a copy begins where an allocation does, as the lone run's tensor: some kernels look at that
        return torch.stack([measure(one.clone(), other.clone()) for one, other in zip(outputs, targets, strict=True)])

    return values


def accuracies(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of right answers of each member, for logits [M, N, C] and classes [M, N], or [M, N, 1] and 0 or 1."""
    if outputs.shape[-1] == 1:
        right = (outputs.sigmoid() > 0.5).float().flatten(1) == targets.flatten(1)
    else:
        right = outputs.softmax(-1).argmax(-1) == targets
    return right.sum(1).float() / right.shape[1]


def absolute_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """`mean |ŷ - y|` of each member."""
    return (outputs - targets).abs().flatten(1).sum(1) / outputs[0].numel()


def _is_plain_cross_entropy(loss: Loss) -> bool:
    return type(loss) is nn.CrossEntropyLoss and (
        (loss.weight, loss.ignore_index, loss.reduction, loss.label_smoothing) == (None, -100, "mean", 0.0)
    )


def cross_entropies(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of each member, summed as torch's `nll_loss` does it: in cascades, in the batch's order.

    Number 0, and every 16 more, join the next sum; so do every 16 of these.
    """
    members, batch = targets.shape
    each = functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    columns = each.view(members, batch).t().contiguous()  # [N, M]
    sums = [torch.zeros(members) for _ in range(8)]
    for number, column in enumerate(columns):
        sums[0] += column
        for level in range(1, len(sums)):
            if number % CASCADE**level:
                break
            sums[level] += sums[level - 1]
            sums[level - 1] = torch.zeros(members)
    total = torch.zeros(members)
    for part in sums:
        total += part
    return total / batch
