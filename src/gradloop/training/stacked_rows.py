"""Where the weights of many members lie, and what an optimizer is given of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

ALIGNED = 16  # numbers: each weight of each member begins at 64 bytes, as one that is allocated by itself
TRIED = 64  # tensors, on which an optimizer is tried: a few may agree by chance


class Block:
    """Some weights of all members: row i of `values` [M, S] belongs to member i, as do its gradient and average.

    together: how many members' rows the optimizer gets as one tensor; None: as many as there are; 0: it gets each
    weight of each member as a tensor of its own.
    """

    def __init__(self, weights: dict[str, nn.Parameter], members: int, together: int | None) -> None:
        self.together, size = together, 0
        self.places: dict[str, tuple[slice, torch.Size]] = {}
        for name, weight in weights.items():
            self.places[name] = slice(size, size + weight.numel()), weight.shape
            size += weight.numel() if together else -(-weight.numel() // ALIGNED) * ALIGNED
        self.values, self.grads, self.average = torch.zeros(3, members, size)

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Each weight of all members: [M, *shape]."""
        return {n: rows[:, place].view(len(rows), *shape).detach() for n, (place, shape) in self.places.items()}

    def pieces(self, rows: slice) -> list[Piece]:
        """What the optimizer is given of some rows."""
        size = (rows.stop - rows.start) if self.together is None else self.together or 1
        cut = [slice(row, min(row + size, rows.stop)) for row in range(rows.start, rows.stop, size)]
        if self.together != 0:
            return [Piece(self, some, slice(0, self.values.shape[1]), list(self.places)) for some in cut]
        return [Piece(self, row, place, [name]) for row in cut for name, (place, _) in self.places.items()]


class Piece:
    """A tensor that the optimizer steps: rows and columns of a block, which hold the named weights."""

    def __init__(self, block: Block, rows: slice, columns: slice, names: list[str]) -> None:
        self.rows = rows
        self.weight = nn.Parameter(block.values[rows, columns])
        self.weight.grad = block.grads[rows, columns]
        shift, places = columns.start, {name: block.places[name] for name in names}
        self.places = {n: (slice(p.start - shift, p.stop - shift), shape) for n, (p, shape) in places.items()}

    def held(self, state: dict[str, Any], row: int) -> dict[str, dict[str, Any]]:
        """Return what the optimizer holds of each weight of a member. state: of the whole piece."""
        return {
            name: {
                key: value[row - self.rows.start, place].reshape(shape).clone()
                if _is_whole(value)
                else deepcopy(value)
                for key, value in state.items()
            }
            for name, (place, shape) in self.places.items()
        }

    def hold(self, state: dict[str, Any], row: int, held: dict[str, dict[str, Any]]) -> None:
        """Take that over into the state of the piece. All members have taken equally many steps."""
        for name, (place, _) in self.places.items():
            for key, value in held.get(name, {}).items():
                if _is_whole(value):
                    whole = state.setdefault(key, torch.zeros_like(self.weight))
                    whole[row - self.rows.start, place] = value.flatten()
                else:
                    state[key] = deepcopy(value)


def parted(
    weights: dict[str, nn.Parameter], members: int, optimizer: Callable[..., Optimizer], *, fused: bool
) -> list[Block]:
    """Return the blocks of a network's weights, as few tensors as an optimizer steps to the bits of each alone.

    A fused kernel rounds the last numbers of a tensor, which fill no vector, otherwise than the others.
    """
    kept = {n: w for n, w in weights.items() if not fused or w.numel() % ALIGNED == 0}
    short = {n: w for n, w in weights.items() if n not in kept and w.ndim == 1}
    together = _as_one(sum(w.numel() for w in short.values()), optimizer) if short else 0
    others = {n: w for n, w in weights.items() if n not in kept and not (together and n in short)}
    blocks = (kept, None), (short if together else {}, together), (others, 0)
    return [Block(some, members, size) for some, size in blocks if some]


def _as_one(size: int, optimizer: Callable[..., Optimizer]) -> int:
    """Return how many rows of so many numbers an optimizer may get as one tensor: those that fill no vector.

    Tried on random numbers; 0: no two.
    """
    for vector in (16, 8, 4):
        if (count := (vector - 1) // size) > 1:
            values, *steps = torch.randn(4, TRIED, count, size, generator=torch.Generator().manual_seed(0))
            whole = _stepped(optimizer, values, steps)
            apart = _stepped(optimizer, values.flatten(0, 1), [each.flatten(0, 1) for each in steps])
            if torch.equal(whole.flatten(), apart.flatten()):
                return count
    return 0


def _stepped(optimizer: Callable[..., Optimizer], values: Tensor, steps: Sequence[Tensor]) -> Tensor:
    """Return weights [N, ...], each of which an optimizer has got as a tensor of its own. steps: their gradients."""
    weights = [nn.Parameter(value.clone()) for value in values]
    stepping = optimizer(weights)
    for gradients in steps:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.clone()
        stepping.step()
    return torch.stack([weight.detach() for weight in weights])


def _is_whole(value: Any) -> bool:
    """Whether an optimizer holds a number for each weight, not one for all: of steps, say."""
    return isinstance(value, Tensor) and value.ndim > 0
