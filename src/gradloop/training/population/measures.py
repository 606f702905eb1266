"""Losses and metrics of many members at once, to the very bits that a lone run measures."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from gradloop.training.meter import Meter
from gradloop.training.population.rows import ALIGNED
from gradloop.training.task import Task

Loss = Callable[[Tensor, Tensor], Tensor]
Values = Callable[[Tensor, Tensor], Tensor]  # outputs [M, N, ...], targets [M, N, ...] -> [M]
TRIED = 32  # members, at least: one or two may agree by chance


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
        quick = [vmap(loss), *([cross_entropies] if is_plain_cross_entropy(loss) else [])]
        return self._way(id(loss), quick, loss, outputs, targets)(outputs, targets)

    def epoch(self, outputs: Tensor, targets: Tensor) -> list[dict[str, float]]:
        """Return the epoch's metrics, one dict a member."""
        columns = {}
        for name in self.metrics:

            def lone(one: Tensor, other: Tensor, name: str = name) -> Tensor:
                return torch.tensor(self.task.measure(one, other, [name]).get(name, math.nan), dtype=torch.float64)

            quick = {"accuracy": [accuracies], "mae": [absolute_errors]}.get(name, [])
            columns[name] = self._way(name, quick, lone, outputs, targets)(outputs, targets).tolist()
        every = [{name: values[row] for name, values in columns.items()} for row in range(len(outputs))]
        return [{n: v for n, v in one.items() if n != "auroc" or not math.isnan(v)} for one in every]

    def _way(self, key: Any, quick: Sequence[Values], lone: Loss, outputs: Tensor, targets: Tensor) -> Values:
        """Return the first of the quick ways that gives what each member measures alone, or that itself."""
        key = (key, outputs.shape[1:])
        if key not in self.ways:
            self.ways[key] = _exact(quick, _one_by_one(lone), outputs, targets)
        return self.ways[key]


class Seen:
    """What the members of a stack have seen of a part, batch by batch: outputs and targets [M, B, ...].

    losses: of some members each, side by side.
    """

    def __init__(self, measures: Measures, losses: Sequence[tuple[slice, Loss]]) -> None:
        self.measures, self.of = measures, losses
        self.batches: list[tuple[Tensor, Tensor]] = []

    @property
    def whole(self) -> tuple[Tensor, Tensor]:
        outputs, targets = (torch.cat(part, 1) for part in zip(*self.batches, strict=True))
        return outputs, targets

    def losses(self) -> Tensor:
        """The loss of every batch, for every member: [batches, M]. Batches of one size are computed in one go."""
        alike = itertools.groupby(self.batches, lambda batch: batch[1].shape[1])
        return torch.cat([self._losses(*map(torch.stack, zip(*some, strict=True))) for _, some in alike])

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Losses for outputs [batches, M, B, ...]: [batches, M]."""
        parts = [
            self.measures.loss(loss, outputs[:, rows].flatten(0, 1), targets[:, rows].flatten(0, 1))
            for rows, loss in self.of
        ]
        return torch.cat([part.view(len(outputs), -1) for part in parts], 1)

    def trained(self) -> list[dict[str, float]]:
        """Return what each member's training comes to: the mean loss over samples, and the metrics."""
        sizes = torch.tensor([float(targets.shape[1]) for _, targets in self.batches]).double()
        losses = self.losses().double().t().contiguous()
        return self._measured([float(each @ sizes / sizes.sum()) for each in losses], *self.whole)

    def evaluated(self) -> list[dict[str, float]]:
        """Return what each member's evaluation comes to: loss and metrics of all samples at once."""
        outputs, targets = self.whole
        return self._measured(self._losses(outputs[None], targets[None])[0].tolist(), outputs, targets)

    def _measured(self, losses: list[float], outputs: Tensor, targets: Tensor) -> list[dict[str, float]]:
        measured = self.measures.epoch(outputs, targets)
        return [{"loss": loss, **more} for loss, more in zip(losses, measured, strict=True)]

    def meters(self) -> list[Meter]:
        """Return what each member has seen, as its lone run keeps it."""
        members = range(len(self.batches[0][0]) if self.batches else 0)
        found = [Meter() for _ in members]
        for (outputs, targets), losses in zip(self.batches, self.losses() if self.batches else (), strict=True):
            for row in members:
                found[row].add(losses[row], outputs[row], targets[row])
        return found


@torch.no_grad()
def test(module: Any, weights: dict[str, Tensor], loss: Loss, batches: Iterable[Any]) -> dict[str, float]:
    """Evaluate one member's weights on the test part, as its lone run does."""
    network = module.network.eval()
    seen = [(functional_call(network, weights, (inputs,)), targets) for inputs, targets in batches]
    if not seen:
        return {}
    outputs, targets = (torch.cat(part) for part in zip(*seen, strict=True))
    measured = {"loss": float(loss(outputs, targets)), **module.task.measure(outputs, targets, None)}
    return {f"test/{name}": value for name, value in measured.items()}


def _exact(quick: Sequence[Values], slow: Values, outputs: Tensor, targets: Tensor) -> Values:
    generator, each = torch.Generator().manual_seed(0), -(-TRIED // len(outputs))
    most = TRIED + len(outputs) % TRIED  # what fills no vector may round otherwise: that is as much as with all
    targets = targets.repeat(each, *[1] * (targets.ndim - 1))[:most]
    shape = (len(targets), *outputs.shape[1:])
    drawn = [scale * torch.randn(shape, generator=generator) for scale in (1.0, 10.0)]
    for way in quick:
        with contextlib.suppress(Exception):  # not every loss can be batched
            if all(torch.equal(way(each, targets).double(), slow(each, targets).double()) for each in drawn):
                return way
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
        right = _likeliest(outputs.flatten(0, -2), targets.flatten()).view(len(targets), -1)
    return right.sum(1).float() / right.shape[1]


def _likeliest(logits: Tensor, classes: Tensor) -> Tensor:
    """`softmax(-1).argmax(-1) == classes` of logits [N, C]; softmax itself only where it may make a tie."""
    first = logits.t().contiguous()  # one vectorized kernel over all samples
    best = first.amax(0)
    right = first.gather(0, classes[None])[0] == best
    tied = (first >= best - 1e-3).sum(0) > 1  # elsewhere probabilities differ by a thousandth
    rows = (tied | ~best.isfinite()).nonzero()[:, 0]
    right[rows] = logits[rows].softmax(-1).argmax(-1) == classes[rows]
    return right


def absolute_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """`mean |ŷ - y|` of each member."""
    return (outputs - targets).abs().flatten(1).sum(1) / outputs[0].numel()


def is_plain_cross_entropy(loss: Loss) -> bool:
    return type(loss) is nn.CrossEntropyLoss and (
        (loss.weight, loss.ignore_index, loss.reduction, loss.label_smoothing) == (None, -100, "mean", 0.0)
    )


def cross_entropies(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of each member, to the bits of torch's `nll_loss`.

    That adds the batch's first number to the sum of the others, in the order in which torch sums down the columns of
    a matrix as wide as whole blocks of vectors, for each thread.
    """
    # what fills no vector rounds otherwise
    each = sample_losses(outputs, targets, classes_first=targets.numel() % ALIGNED == 0)
    members, batch = targets.shape
    columns = functional.pad(each.t(), (0, -members % (4 * ALIGNED * torch.get_num_threads()))).contiguous()
    return (columns[0] + columns[1:].sum(0))[:members] / batch


def sample_losses(outputs: Tensor, targets: Tensor, *, classes_first: bool) -> Tensor:
    """The cross-entropy of every sample, [M, N], for logits [M, N, C] and classes [M, N].

    classes_first: by a kernel that takes a vector of samples at once: three times as fast for few classes.
    """
    logits, classes = outputs.flatten(0, 1), targets.flatten()
    if classes_first:
        logits, classes = logits.t()[None], classes[None]
    return functional.cross_entropy(logits, classes, reduction="none").view(targets.shape)
