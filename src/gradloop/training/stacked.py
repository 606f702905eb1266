"""Many small networks of one architecture as one: stacked weights, gradients and optimizer state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop

from gradloop.training.small_products import SmallProducts

ALIGNED = 16  # numbers: each weight of each member begins at 64 bytes, as one that is allocated by itself
ELEMENTWISE = (SGD, Adam, AdamW, Adagrad, Adadelta, Adamax, NAdam, RAdam, RMSprop)  # a weight's step needs no other's


@dataclass(frozen=True)
class Numbers:
    """What members of a stack may have otherwise than others, besides their data and weights.

    key: equal for members that share all of it. scheduler: (optimizer, steps) -> scheduler, or None.
    clip: the largest gradient norm or value; None or 0: no limit.
    """

    key: str
    optimizer: Callable[..., Optimizer]
    scheduler: Callable[[Optimizer, int], Any] | None
    loss: Callable[[Tensor, Tensor], Tensor]
    clip: float | None


@dataclass
class State:
    """One member's weights, and what its optimizer and scheduler hold, as in a checkpoint; None: not begun."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Any] | None = None
    scheduler: dict[str, Any] | None = None
    average: dict[str, Tensor] | None = None
    gradients: dict[str, Tensor] | None = None  # that wait for the next batch


class Pace:
    """The numbers of an optimizer as a lone run has them from step to step: its scheduler acts on a dummy weight."""

    def __init__(self, numbers: Numbers, steps: int, state: State) -> None:
        self.optimizer = numbers.optimizer([nn.Parameter(torch.zeros(1))])
        self.group = self.optimizer.param_groups[0]
        self.scheduler = numbers.scheduler(self.optimizer, steps) if numbers.scheduler else None
        self.optimizer.step()  # of no gradient: else the scheduler warns that it is stepped first
        if state.optimizer is not None:
            self.group.update({k: v for k, v in state.optimizer["param_groups"][0].items() if k != "params"})
        if self.scheduler is not None and state.scheduler is not None:
            self.scheduler.load_state_dict(state.scheduler)

    @property
    def now(self) -> dict[str, Any]:
        return {name: value for name, value in self.group.items() if name != "params"}


@dataclass
class Buffer:
    """Some weights of all members: row i of `values` [M, S] belongs to member i, as do its gradient and average.

    apart: the optimizer gets each weight of each member as a tensor of its own, else a set's rows as one.
    """

    places: dict[str, tuple[slice, torch.Size]]
    apart: bool
    values: Tensor
    grads: Tensor
    average: Tensor | None

    def fill(self, rows: Tensor, number: int, values: dict[str, Tensor]) -> None:
        for name, (place, _) in self.places.items():
            if name in values:
                rows[number, place] = values[name].flatten()

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Each weight of all members: [M, *shape]."""
        return {n: rows[:, place].view(len(rows), *shape).detach() for n, (place, shape) in self.places.items()}


Part = tuple[Buffer, slice, str | None, nn.Parameter]  # rows of a buffer; of one weight alone, by its name


class Stack:
    """M networks `[M, P]`: row i holds all weights of member i, and each weight of all members is a view of it.

    `vmap` of one network over the rows gives M outputs, the gradient of their losses' sum gives each member its own,
    and one torch optimizer steps over the rows: a parameter group for each set of members that share their numbers,
    which have to lie side by side. network: the architecture, without its weights. small_products: see there.
    """

    def __init__(
        self,
        network: nn.Module,
        numbers: Sequence[Numbers],
        states: Sequence[State],
        *,
        steps: int,
        average: bool = False,
        clip_algorithm: str | None = None,
        small_products: bool = False,
    ) -> None:
        self.numbers, self.clip_algorithm = numbers, clip_algorithm
        self.names = [name for name, _ in network.named_parameters()]
        self.sets = _runs_of([each.key for each in numbers])
        self.paces = [Pace(numbers[rows.start], steps, states[rows.start]) for rows in self.sets]
        # a fused kernel rounds the last numbers of a tensor, which fill no vector, otherwise than the others
        fused = bool(self.paces[0].now.get("fused"))
        kept = {n: w for n, w in network.named_parameters() if not fused or w.numel() % ALIGNED == 0}
        others = {n: w for n, w in network.named_parameters() if n not in kept}
        parts = ((kept, False), (others, True))
        self.buffers = [_buffer(each, apart, len(states), average) for each, apart in parts if each]
        for number, state in enumerate(states):
            for buffer in self.buffers:
                buffer.fill(buffer.values, number, state.weights)
                buffer.fill(buffer.grads, number, state.gradients or {})
                if buffer.average is not None:
                    buffer.fill(buffer.average, number, state.average or state.weights)
        self.weights = {n: view.requires_grad_() for n, view in self._views(lambda buffer: buffer.values).items()}
        self.gradients = self._views(lambda buffer: buffer.grads)
        self.averages = self._views(lambda buffer: buffer.average) if average else self.weights
        groups = []
        self.parts: list[list[Part]] = []  # a list a set
        for rows, pace in zip(self.sets, self.paces, strict=True):
            self.parts.append([part for buffer in self.buffers for part in _parts(buffer, rows)])
            groups.append({"params": [part[3] for part in self.parts[-1]], **pace.now})
        self.optimizer = type(self.paces[0].optimizer)(groups, **getattr(numbers[0].optimizer, "keywords", {}))
        self._fill_optimizer(states)
        products = SmallProducts if small_products else nullcontext

        def forward(weights: dict[str, Tensor], inputs: Tensor) -> Any:
            with products():
                return functional_call(network, weights, (inputs,))

        self.forward = vmap(forward)
        self.losses = [(rows, vmap(numbers[rows.start].loss)) for rows in _runs_of([id(n.loss) for n in numbers])]

    def _views(self, of: Callable[[Buffer], Any]) -> dict[str, Tensor]:
        found = {name: view for buffer in self.buffers for name, view in buffer.views(of(buffer)).items()}
        return {name: found[name] for name in self.names}

    def outputs(self, inputs: Tensor, *, averaged: bool = False) -> Tensor:
        """Return [M, B, num_outputs] for inputs [M, B, ...]."""
        outputs: Tensor = self.forward(self.averages if averaged else self.weights, inputs)
        return outputs

    def backward(self, inputs: Tensor, targets: Tensor, *, share: int, add: bool) -> tuple[Tensor, Tensor]:
        """Return losses [M] and outputs, and let `gradients` be those of `loss / share`, added if `add`."""
        outputs = self.outputs(inputs)
        parts = [loss(outputs[rows], targets[rows]) for rows, loss in self.losses]
        losses = parts[0] if len(parts) == 1 else torch.cat(parts)
        total = losses.sum() if share == 1 else (losses / share).sum()
        found = torch.autograd.grad(total, list(self.weights.values()))
        for gradient, new in zip(self.gradients.values(), found, strict=True):
            if add:
                gradient += new
            else:
                gradient.copy_(new)
        return losses.detach(), outputs.detach()

    def finite(self, losses: Tensor) -> Tensor:
        """Whether loss and gradients of each member are: bool [M]."""
        return torch.isfinite(losses + sum(torch.linalg.vector_norm(b.grads, dim=1) for b in self.buffers))

    def _clip(self) -> None:
        """Limit each member's gradients as torch limits those of one: `clip_grad_norm_`, or `clip_grad_value_`."""
        for rows in self.sets:
            limit = self.numbers[rows.start].clip
            if not limit:
                continue
            if self.clip_algorithm == "value":
                for buffer in self.buffers:
                    buffer.grads[rows].clamp_(-limit, limit)
                continue
            norms = [torch.linalg.vector_norm(g[rows].flatten(1), dim=1) for g in self.gradients.values()]
            norm = torch.linalg.vector_norm(torch.stack(norms, 1), dim=1)  # [members of the set]
            for buffer in self.buffers:
                buffer.grads[rows] *= (limit / (norm + 1e-6)).clamp(max=1.0)[:, None]

    @torch.no_grad()
    def step(self) -> None:
        self._clip()
        self.optimizer.step()

    def schedule(self, metrics: Sequence[Tensor] | None = None) -> None:
        """Let every scheduler take a step. metrics: a member's each, for those that follow one."""
        for rows, pace, group in zip(self.sets, self.paces, self.optimizer.param_groups, strict=True):
            if pace.scheduler is not None:
                pace.scheduler.step(*([] if metrics is None else [metrics[rows.start]]))
                group.update(pace.now)

    def average_in(self, mean: Callable[[Tensor, Tensor, int], Tensor], updates: int) -> None:
        """Put the weights into the average, which has had so many updates."""
        for buffer in self.buffers:
            assert buffer.average is not None
            buffer.average.copy_(buffer.values if updates == 0 else mean(buffer.average, buffer.values, updates))

    def pace_of(self, row: int) -> Pace:
        return self.paces[self._set(row)]

    def _set(self, row: int) -> int:
        return next(number for number, rows in enumerate(self.sets) if row < rows.stop)

    def weights_of(self, row: int, *, averaged: bool = False) -> dict[str, Tensor]:
        whole = self.averages if averaged else self.weights
        return {name: weight.detach()[row].clone() for name, weight in whole.items()}

    def state_of(self, row: int, *, waiting: bool) -> State:
        """Return a copy of a member's state, as its lone run would save it. waiting: with its gradients."""
        pace, held = self.paces[self._set(row)], {}
        for buffer, rows, only, part in self.parts[self._set(row)]:
            if not rows.start <= row < rows.stop:
                continue
            for name, (place, shape) in buffer.places.items() if only is None else [(only, buffer.places[only])]:
                held[name] = {
                    key: value
                    if not isinstance(value, Tensor)
                    else value.clone()
                    if not value.ndim
                    else (value[row - rows.start, place] if only is None else value).reshape(shape).clone()
                    for key, value in self.optimizer.state.get(part, {}).items()
                }
        state = {number: held[name] for number, name in enumerate(self.names) if held[name]}
        return State(
            self.weights_of(row),
            {"state": state, "param_groups": [{**pace.now, "params": list(range(len(self.names)))}]},
            pace.scheduler.state_dict() if pace.scheduler is not None else None,
            self.weights_of(row, averaged=True) if self.averages is not self.weights else None,
            {name: gradient[row].clone() for name, gradient in self.gradients.items()} if waiting else None,
        )

    def _fill_optimizer(self, states: Sequence[State]) -> None:
        """Take over what the members' optimizers held; all of them have taken equally many steps."""
        for buffer, rows, only, part in itertools.chain.from_iterable(self.parts):
            for number, state in enumerate(states[rows]):
                saved = state.optimizer["state"] if state.optimizer is not None else {}
                into = self.optimizer.state[part] if saved else {}
                for name in buffer.places if only is None else [only]:
                    for key, value in saved.get(self.names.index(name), {}).items():
                        if not isinstance(value, Tensor) or not value.ndim:  # the number of steps
                            into[key] = value.clone() if isinstance(value, Tensor) else value
                        elif only is not None:
                            into[key] = value.flatten().clone()
                        else:
                            into.setdefault(key, torch.zeros_like(part))[number, buffer.places[name][0]] = (
                                value.flatten()
                            )


def _buffer(weights: dict[str, nn.Parameter], apart: bool, members: int, average: bool) -> Buffer:
    places, size = {}, 0
    for name, weight in weights.items():
        places[name] = slice(size, size + weight.numel()), weight.shape
        size += -(-weight.numel() // ALIGNED) * ALIGNED
    values, grads, mean = (torch.zeros(members, size) for _ in range(3))
    return Buffer(places, apart, values, grads, mean if average else None)


def _parts(buffer: Buffer, rows: slice) -> list[Part]:
    """What the optimizer is given of some rows."""
    if not buffer.apart:
        parts = [(buffer, rows, None, nn.Parameter(buffer.values[rows]))]
        parts[0][3].grad = buffer.grads[rows]
        return parts
    parts = []
    for row in range(rows.start, rows.stop):
        for name, (place, _) in buffer.places.items():
            part = nn.Parameter(buffer.values[row, place])
            part.grad = buffer.grads[row, place]
            parts.append((buffer, slice(row, row + 1), name, part))
    return parts


def _runs_of(keys: Sequence[Any]) -> list[slice]:
    """Where equal keys lie side by side: [a, a, b] -> [0:2, 2:3]."""
    starts = [i for i, key in enumerate(keys) if not i or key != keys[i - 1]]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(keys)], strict=True)]
