"""Many small networks of one architecture as one: stacked weights, gradients and optimizer state."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from gradloop.training.population.chains import layers_of, outputs_of
from gradloop.training.population.measures import is_plain_cross_entropy
from gradloop.training.population.numbers import Numbers, Pace, State
from gradloop.training.population.rows import ALIGNED, Block

TRIED = 64 * ALIGNED  # samples


class Stack:
    """M networks: a row of the blocks holds all weights of a member, and each weight of all members is a view of it.

    One network over all rows at once (layer by layer, or by `vmap`) gives M outputs, the gradient of their losses'
    sum gives each member its own, and one torch optimizer steps over the rows: a parameter group for each set of
    members that share their numbers, which have to lie side by side.

    network: the architecture, without its weights.
    """

    def __init__(
        self,
        network: nn.Module,
        numbers: Sequence[Numbers],
        states: Sequence[State],
        *,
        steps: int,
        average: bool,
        clip_algorithm: str | None,
    ) -> None:
        self.numbers, self.clip_algorithm = numbers, clip_algorithm
        self.names = [name for name, _ in network.named_parameters()]
        self.sets = _runs_of([each.key for each in numbers])
        self.paces = [Pace(numbers[rows.start], steps, states[rows.start]) for rows in self.sets]
        # a fused kernel rounds the last numbers of a tensor, which fill no vector, otherwise than the others
        fused = bool(self.paces[0].now.get("fused"))
        kept = {n: w for n, w in network.named_parameters() if not fused or w.numel() % ALIGNED == 0}
        others = {n: w for n, w in network.named_parameters() if n not in kept}
        parts = (kept, False), (others, True)
        self.blocks = [Block(weights, len(states), apart=apart) for weights, apart in parts if weights]
        self.weights, self.gradients, self.averages = map(self._views, ("values", "grads", "average"))
        if not average:
            self.averages = self.weights
        for row, state in enumerate(states):
            _put(self.gradients, row, state.gradients or {})
            _put(self.averages, row, state.average or state.weights)
            _put(self.weights, row, state.weights)
        for weight in self.weights.values():
            weight.requires_grad_()
        self.pieces = [[piece for block in self.blocks for piece in block.pieces(rows)] for rows in self.sets]
        groups = [
            {"params": [piece.weight for piece in pieces], **pace.now}
            for pieces, pace in zip(self.pieces, self.paces, strict=True)
        ]
        self.optimizer = type(self.paces[0].optimizer)(groups, **getattr(numbers[0].optimizer, "keywords", {}))
        for piece in itertools.chain.from_iterable(self.pieces):
            for row in range(piece.rows.start, piece.rows.stop):
                if (saved := states[row].optimizer) is not None and saved["state"]:
                    held = {self.names[number]: each for number, each in saved["state"].items()}
                    piece.hold(self.optimizer.state[piece.weight], row, held)
        layers = layers_of(network)
        alone = vmap(lambda weights, inputs: functional_call(network, weights, (inputs,)))
        self.forward = alone if layers is None else partial(outputs_of, layers)
        self.losses = [(rows, _of_all(numbers[rows.start].loss)) for rows in _runs_of([id(n.loss) for n in numbers])]

    def _views(self, kind: str) -> dict[str, Tensor]:
        found = {name: view for block in self.blocks for name, view in block.views(getattr(block, kind)).items()}
        return {name: found[name] for name in self.names}

    def outputs(self, inputs: Tensor, *, averaged: bool = False) -> Tensor:
        """Return [M, B, num_outputs] for inputs [M, B, ...]."""
        outputs: Tensor = self.forward(self.averages if averaged else self.weights, inputs)
        return outputs

    def backward(self, inputs: Tensor, targets: Tensor, *, share: int, add: bool) -> tuple[Tensor, Tensor]:
        """Return losses [M] and outputs, and let `gradients` be those of `loss / share`, added if `add`."""
        outputs = self.outputs(inputs)
        if len(self.losses) == 1:
            losses = self.losses[0][1](outputs, targets)
        else:
            losses = torch.cat([loss(outputs[rows], targets[rows]) for rows, loss in self.losses])
        found = torch.autograd.grad(losses, list(self.weights.values()), torch.full_like(losses, 1 / share))
        for gradient, new in zip(self.gradients.values(), found, strict=True):
            gradient.copy_(gradient + new if add else new)
        return losses.detach(), outputs.detach()

    def broken(self, losses: Tensor) -> Tensor | None:
        """Which members' loss or gradients are not finite: bool [M]. A sum that is finite has only finite parts."""
        if math.isfinite((losses.sum() + sum(block.grads.sum() for block in self.blocks)).item()):
            return None
        return ~torch.isfinite(losses + sum(block.grads.sum(1) for block in self.blocks))

    def _clip(self) -> None:
        """Limit each member's gradients as torch limits those of one: `clip_grad_norm_`, or `clip_grad_value_`."""
        for rows in self.sets:
            if not (limit := self.numbers[rows.start].clip):
                continue
            if self.clip_algorithm == "value":
                for block in self.blocks:
                    block.grads[rows].clamp_(-limit, limit)
                continue
            norms = [torch.linalg.vector_norm(g[rows].flatten(1), dim=1) for g in self.gradients.values()]
            norm = torch.linalg.vector_norm(torch.stack(norms, 1), dim=1)  # [members of the set]
            for block in self.blocks:
                block.grads[rows] *= (limit / (norm + 1e-6)).clamp(max=1.0)[:, None]

    @torch.no_grad()
    def step(self) -> None:
        self._clip()
        self.optimizer.step()
        for pace in self.paces:
            pace.stepped = {"lr": pace.group["lr"]}

    def schedule(self, metrics: Sequence[Tensor] | None = None) -> None:
        """Let every scheduler take a step. metrics: a member's each, for those that follow one."""
        for rows, pace, group in zip(self.sets, self.paces, self.optimizer.param_groups, strict=True):
            if pace.scheduler is not None:
                pace.scheduler.step(*([] if metrics is None else [metrics[rows.start]]))
                group.update(pace.now)

    def average_in(self, mean: Callable[[Tensor, Tensor, int], Tensor], updates: int) -> None:
        """Put the weights into the average, which has had so many updates."""
        for block in self.blocks:
            block.average.copy_(block.values if updates == 0 else mean(block.average, block.values, updates))

    def pace_of(self, row: int) -> Pace:
        return self.paces[self._set(row)]

    def _set(self, row: int) -> int:
        return next(number for number, rows in enumerate(self.sets) if row < rows.stop)

    def weights_of(self, row: int, *, averaged: bool = False) -> dict[str, Tensor]:
        whole = self.averages if averaged else self.weights
        return {name: weight.detach()[row].clone() for name, weight in whole.items()}

    def state_of(self, row: int, *, waiting: bool) -> State:
        """Return a copy of a member's state, as its lone run would save it. waiting: with its gradients."""
        pace = self.pace_of(row)
        held: dict[str, dict[str, Any]] = {}
        for piece in self.pieces[self._set(row)]:
            if piece.rows.start <= row < piece.rows.stop:
                held |= piece.held(self.optimizer.state.get(piece.weight, {}), row)
        state = {number: held[name] for number, name in enumerate(self.names) if held[name]}
        return State(
            self.weights_of(row),
            {"state": state, "param_groups": [{**pace.now, "params": list(range(len(self.names)))}]},
            pace.scheduler.state_dict() if pace.scheduler is not None else None,
            self.weights_of(row, averaged=True) if self.averages is not self.weights else None,
            {name: gradient[row].clone() for name, gradient in self.gradients.items()} if waiting else None,
        )


def _of_all(loss: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss of [M, B, C] and [M, B] as one of every member: [M]."""
    if not is_plain_cross_entropy(loss):
        batched: Callable[[Tensor, Tensor], Tensor] = vmap(loss)
        return batched
    ways: dict[int, Any] = {}  # by the number of classes

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        classes = outputs.shape[2]
        if classes not in ways:
            ways[classes] = _classes_first if _same_gradients(classes) else _classes_last
        way = _classes_last if targets.numel() % ALIGNED else ways[classes]  # what fills no vector rounds otherwise
        each: Tensor = way(outputs.flatten(0, 1), targets.flatten())
        return each.view(targets.shape).mean(1)  # its gradients are those of a mean by torch's `nll_loss`

    return mean


def _classes_last(logits: Tensor, classes: Tensor) -> Tensor:
    return functional.cross_entropy(logits, classes, reduction="none")


def _classes_first(logits: Tensor, classes: Tensor) -> Tensor:
    """The same by a kernel that takes a vector of samples at once: three times as fast for few classes."""
    return functional.cross_entropy(logits.t()[None], classes[None], reduction="none")


def _same_gradients(classes: int) -> bool:
    """Whether both ways round alike: so they do while the classes fill no vector of the processor's."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(classes, (TRIED,), generator=generator)
    for scale in (1.0, 10.0):
        logits = (scale * torch.randn(TRIED, classes, generator=generator)).requires_grad_()
        one, other = (
            torch.autograd.grad(f(logits, targets).sum(), logits)[0] for f in (_classes_last, _classes_first)
        )
        if not torch.equal(one, other):
            return False
    return True


def _put(views: dict[str, Tensor], row: int, values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        views[name][row] = value


def _runs_of(keys: Sequence[Any]) -> list[slice]:
    """Where equal keys lie side by side: [a, a, b] -> [0:2, 2:3]."""
    starts = [i for i, key in enumerate(keys) if not i or key != keys[i - 1]]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(keys)], strict=True)]
