"""Many small networks of one architecture as one: stacked weights, gradients and optimizer state."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from gradloop.errors import GradloopError
from gradloop.training.population.chains import layers_of, outputs_of
from gradloop.training.population.measures import is_plain_cross_entropy, sample_losses
from gradloop.training.population.numbers import Numbers, Pace, State
from gradloop.training.population.rows import ALIGNED, Block

TRIED = 64 * ALIGNED  # samples


class StackError(GradloopError):
    """Why runs are trained alone, in one line."""


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
        self.clip_algorithm = clip_algorithm
        self.names = [name for name, _ in network.named_parameters()]
        sets = _runs_of([each.key for each in numbers])
        self.paces = [Pace(numbers[rows.start], steps, states[rows.start], rows) for rows in sets]
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
        for pace in self.paces:
            pace.pieces = [piece for block in self.blocks for piece in block.pieces(pace.rows)]
        groups = [{"params": [piece.weight for piece in pace.pieces], **pace.now} for pace in self.paces]
        self.optimizer = type(self.paces[0].optimizer)(groups, **getattr(numbers[0].optimizer, "keywords", {}))
        for piece in [piece for pace in self.paces for piece in pace.pieces]:
            for row in range(piece.rows.start, piece.rows.stop):
                if (saved := states[row].optimizer) is not None and saved["state"]:
                    held = {self.names[number]: each for number, each in saved["state"].items()}
                    piece.hold(self.optimizer.state[piece.weight], row, held)
        layers = layers_of(network)
        alone = vmap(lambda weights, inputs: functional_call(network, weights, (inputs,)))
        self.forward = alone if layers is None else functools.partial(outputs_of, layers)
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
        for pace in self.paces:
            rows, limit = pace.rows, pace.clip
            if not limit:
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
        for pace, group in zip(self.paces, self.optimizer.param_groups, strict=True):
            if pace.scheduler is not None:
                pace.scheduler.step(*([] if metrics is None else [metrics[pace.rows.start]]))
                group.update(pace.now)

    def average_in(self, mean: Callable[[Tensor, Tensor, int], Tensor], updates: int) -> None:
        """Put the weights into the average, which has had so many updates."""
        for block in self.blocks:
            block.average.copy_(block.values if updates == 0 else mean(block.average, block.values, updates))

    def pace_of(self, row: int) -> Pace:
        return next(pace for pace in self.paces if row < pace.rows.stop)

    def weights_of(self, row: int, *, averaged: bool = False) -> dict[str, Tensor]:
        whole = self.averages if averaged else self.weights
        return {name: weight.detach()[row].clone() for name, weight in whole.items()}

    def state_of(self, row: int, *, waiting: bool) -> State:
        """Return a copy of a member's state, as its lone run would save it. waiting: with its gradients."""
        pace = self.pace_of(row)
        held: dict[str, dict[str, Any]] = {}
        for piece in pace.pieces:
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
    every: Callable[[Tensor, Tensor], Tensor] = _cross_entropies if is_plain_cross_entropy(loss) else vmap(loss)
    return every


def _cross_entropies(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of each member, with the gradients of a mean by torch's `nll_loss`."""
    # what fills no vector rounds otherwise
    classes_first = targets.numel() % ALIGNED == 0 and _same_gradients(outputs.shape[2])
    return sample_losses(outputs, targets, classes_first=classes_first).mean(1)


@functools.cache
def _same_gradients(classes: int) -> bool:
    """Whether both ways round alike: so they do while the classes fill no vector of the processor's."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(classes, (1, TRIED), generator=generator)
    for scale in (1.0, 10.0):
        logits = (scale * torch.randn(1, TRIED, classes, generator=generator)).requires_grad_()
        losses = [sample_losses(logits, targets, classes_first=first).sum() for first in (False, True)]
        one, other = (torch.autograd.grad(loss, logits)[0] for loss in losses)
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
