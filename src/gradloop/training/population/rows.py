"""Where the weights of many members lie, and what an optimizer is given of them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop

ELEMENTWISE = (SGD, Adam, AdamW, Adagrad, Adadelta, Adamax, NAdam, RAdam, RMSprop)  # a weight's step needs no other's
ALIGNED = 16  # numbers: each weight of each member begins at 64 bytes, as one that is allocated by itself


class Block:
    """Some weights of all members: row i of `values` [M, S] belongs to member i, as do its gradient and average.

    apart: the optimizer gets each weight of each member as a tensor of its own, else some members' rows as one.
    """

    def __init__(self, weights: dict[str, nn.Parameter], members: int, *, apart: bool) -> None:
        self.apart, size = apart, 0
        self.places: dict[str, tuple[slice, torch.Size]] = {}
        for name, weight in weights.items():
            self.places[name] = slice(size, size + weight.numel()), weight.shape
            size += -(-weight.numel() // ALIGNED) * ALIGNED
        self.values, self.grads, self.average = torch.zeros(3, members, size)

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Each weight of all members: [M, *shape]."""
        return {n: rows[:, place].view(len(rows), *shape).detach() for n, (place, shape) in self.places.items()}

    def pieces(self, rows: slice) -> list[Piece]:
        """What the optimizer is given of some rows."""
        if not self.apart:
            return [Piece(self, rows, slice(0, self.values.shape[1]), list(self.places))]
        single = [slice(row, row + 1) for row in range(rows.start, rows.stop)]
        return [Piece(self, row, place, [name]) for row in single for name, (place, _) in self.places.items()]


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


def _is_whole(value: Any) -> bool:
    """Whether an optimizer holds a number for each weight, not one for all: of steps, say."""
    return isinstance(value, Tensor) and value.ndim > 0
