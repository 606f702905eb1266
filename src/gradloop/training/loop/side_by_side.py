"""One optimizer step for all weights of a small network, which lie side by side in one tensor."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from gradloop.training.population.rows import ELEMENTWISE, Block

LARGEST = 2**17  # numbers of a network: to copy the gradients of a larger one costs what the calls do
ONE_THREAD = 2**15  # numbers that torch's elementwise kernels leave to one thread (at::internal::GRAIN_SIZE)
OTHER_WAYS = "fused", "foreach", "capturable", "differentiable"  # options of torch's that decide how it steps


class SideBySide:
    """Steps in the place of an optimizer that treats each number by itself: the same bits, in fewer calls.

    A step of Adam is ten calls for each weight, and a third of a small network's training. Here each parameter group
    is one tensor, of which the network's weights are views. The optimizer gets its state back whenever it is asked
    for it, and goes on by itself from a step on that has no gradient for some weight.

    optimizer: one that has taken a step.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer, self.stands_in = optimizer, True
        self.groups = [_Group(group) for group in optimizer.param_groups]
        kind: Any = type(optimizer)
        self.stepping: Optimizer = kind([{**each.options, "params": [each.piece.weight]} for each in self.groups])
        for each, group in zip(self.groups, self.stepping.param_groups, strict=True):
            each.stepped = group
            held = {str(number): optimizer.state[weight] for number, weight in enumerate(each.weights)}
            each.piece.hold(self.stepping.state[each.piece.weight], 0, held)
        optimizer.register_state_dict_pre_hook(lambda _: self._give_back())
        optimizer.register_step_pre_hook(lambda *_: self._leave())

    def gradients(self) -> list[Tensor] | None:
        """Return all gradients, a group's in one tensor, of which the weights' are views then; None if some lack."""
        if self.stands_in and not all(each.gather() for each in self.groups):
            self._leave()
        return [each.row for each in self.groups] if self.stands_in else None

    def step(self) -> None:
        if self.gradients() is None:
            self.optimizer.step()
            return
        for each in self.groups:
            for name in each.options:
                each.stepped[name] = each.group[name]  # a schedule may have changed it
        self.stepping.step()

    def _give_back(self) -> None:
        for each in self.groups if self.stands_in else ():
            held = each.piece.held(self.stepping.state[each.piece.weight], 0)
            for number, weight in enumerate(each.weights):
                self.optimizer.state[weight] = held[str(number)]

    def _leave(self) -> None:
        self._give_back()
        self.stands_in = False


class _Group:
    """The weights of a parameter group, their gradients, and the rows that both are views of."""

    def __init__(self, group: dict[str, Any]) -> None:
        self.group, self.weights = group, list(group["params"])
        self.options = {name: value for name, value in group.items() if name != "params"}
        self.stepped: dict[str, Any] = {}  # the group that is stepped
        block = Block({str(number): weight for number, weight in enumerate(self.weights)}, 1, apart=False)
        (self.piece,), self.row = block.pieces(slice(0, 1)), block.grads[0]
        self.slots = [view[0] for view in block.views(block.grads).values()]
        for weight, view in zip(self.weights, block.views(block.values).values(), strict=True):
            weight.data = view[0].copy_(weight.detach())
        self.places = [weight.data_ptr() for weight in self.weights]
        ends = [*[place.start for place, _ in block.places.values()][1:], len(self.row)]
        self.parts = [
            part
            for (place, _), end in zip(block.places.values(), ends, strict=True)
            for part in (self.row[place], torch.zeros(end - place.stop))
        ]

    def gather(self) -> bool:
        """Lay the gradients side by side; return whether there is one of every weight, and all lie where they lay."""
        if self.weights[0].grad is self.slots[0]:
            return True
        found = [weight.grad for weight in self.weights if weight.grad is not None]
        if len(found) < len(self.weights) or any(grad.layout != torch.strided for grad in found):
            return False
        if [weight.data_ptr() for weight in self.weights] != self.places:  # a network may replace its own weights
            return False
        self.parts[::2] = [grad.reshape(-1) for grad in found]
        torch.cat(self.parts, out=self.row)
        for weight, slot in zip(self.weights, self.slots, strict=True):
            weight.grad = slot
        return True


def side_by_side(optimizer: Optimizer) -> SideBySide | None:
    """Return what steps in an optimizer's place, if that pays and has the same bits: it is tried on copies.

    Plain SGD is one call for each weight: as much as laying its gradient beside the others takes.

    optimizer: it has taken a step, and the gradients of that are still there.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    fits = (
        type(optimizer) in ELEMENTWISE
        and not (type(optimizer) is SGD and not any(group["momentum"] for group in optimizer.param_groups))
        and len(weights) > len(optimizer.param_groups)
        and sum(weight.numel() for weight in weights) <= (LARGEST if torch.get_num_threads() == 1 else ONE_THREAD)
        and not any(group.get(way) for group in optimizer.param_groups for way in OTHER_WAYS)
        and all(weight.grad is not None and weight.is_contiguous() for weight in weights)
        and all((weight.dtype, weight.device.type) == (torch.get_default_dtype(), "cpu") for weight in weights)
    )
    if not fits:
        return None
    one, other = _copy_of(optimizer), SideBySide(_copy_of(optimizer))
    one.step()
    other.step()
    pairs = zip(one.param_groups, other.optimizer.param_groups, strict=True)
    same = all(torch.equal(w, v) for a, b in pairs for w, v in zip(a["params"], b["params"], strict=True))
    return SideBySide(optimizer) if same else None


def _copy_of(optimizer: Optimizer) -> Optimizer:
    """Return an optimizer with the same state and gradients, over copies of its weights."""
    copy = deepcopy(optimizer)
    for group, lone in zip(copy.param_groups, optimizer.param_groups, strict=True):
        for weight, own in zip(group["params"], lone["params"], strict=True):
            weight.grad = own.grad.clone()
    return copy
