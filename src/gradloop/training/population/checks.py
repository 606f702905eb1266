"""What can be trained as one stack, and whether the stack does to each member what its lone run would."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from gradloop.callbacks.augmented_grid import AugmentedGrid
from gradloop.callbacks.averaging import EMA
from gradloop.callbacks.checkpoints import Checkpoints
from gradloop.callbacks.curves import Curves
from gradloop.callbacks.divergence import Divergence
from gradloop.callbacks.early_stopping import EarlyStopping
from gradloop.callbacks.progress import Progress
from gradloop.callbacks.pruning import Pruning
from gradloop.callbacks.tensorboard_logger import TensorBoard
from gradloop.callbacks.tensorboard_pages import TensorBoardPages
from gradloop.config.own_module import target_of
from gradloop.config.signature import flatten, unlike
from gradloop.data.data_module import DataModule
from gradloop.errors import said
from gradloop.training.kinds import is_set_from_data
from gradloop.training.loop.stretches import TRANSFER_HOOKS
from gradloop.training.machine import SMALL
from gradloop.training.optimizing import OURS
from gradloop.training.parts import Parts
from gradloop.training.population.rows import ELEMENTWISE
from gradloop.training.population.stacked import Stack, StackError

CALLBACKS = (
    AugmentedGrid, Checkpoints, Curves, Divergence, EarlyStopping, EMA, Progress, Pruning, TensorBoardPages,
)  # fmt: skip
# of the Trainer: what a stack does as well, and what it leaves alone, which has to be as it is by default
DONE = (
    "_target_", "max_epochs", "accelerator", "devices", "num_nodes", "precision", "gradient_clip_val",
    "gradient_clip_algorithm", "accumulate_grad_batches", "limit_train_batches", "limit_val_batches",
    "limit_test_batches", "check_val_every_n_epoch", "deterministic", "benchmark",
)  # fmt: skip
OFF: dict[str, Any] = {"trainer.max_steps": -1, "trainer.val_check_interval": 1.0, "trainer.strategy": "auto"}
LOADERS = ("train_batches", "train_dataloader", "val_dataloader", "test_dataloader")
ALONE = ("trainer", "compile", "channels_last", "test_time_flip", "test_time_shift")  # what else has to be off
RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
COMPARED = 16  # members that are trained for a few steps alone, the first and the last among them
ENOUGH = 1000  # numbers that are compared at least
CLOSE: dict[str, Any] = {"rtol": 1e-2, "atol": 1e-5}  # what rounding may change in a few steps; more is no rounding


class Checked(NamedTuple):
    """exact: a few steps of the stack gave the very bits. evaluates: so did its outputs of the validation part."""

    exact: bool
    evaluates: bool


def why_alone(parts: Parts) -> str | None:
    """Say in one line what of a run can't be stacked; None if nothing is in sight."""
    values = parts.values
    if parts.own:
        return f"module._target_={target_of(values)}: it trains by its own steps"
    network, data = parts.module.network, parts.data
    if parts.module.own_metrics:
        return f"metrics.{next(iter(parts.module.own_metrics))}: a stack measures none of your own"
    if values["loss"].get("weight") is not None:
        return f"loss.weight={values['loss']['weight']}: a stack does not weigh classes"
    for name, layer in network.named_modules():
        kind = type(layer).__name__
        if isinstance(layer, RANDOM) and getattr(layer, "p", 1.0) > 0:
            return f"model: {kind} ({name}) would draw other numbers in a stack"
        if isinstance(layer, CONVOLUTIONS):
            return f"model: convolutions ({name}) are slower in a stack, on a processor"
    others = {*network.state_dict(), *dict(network.named_buffers())} - dict(network.named_parameters()).keys()
    if others:
        return f"model: {min(others)} is state besides the weights (batch norm has such), which a stack does not keep"
    if is_set_from_data(network):
        return "model: its weights begin as the data says"
    if any(weight.dtype != torch.float32 or not weight.requires_grad for weight in network.parameters()):
        return "model: not all weights are trained, or not in float32"
    if sum(weight.numel() for weight in network.parameters()) * data.batch_size >= SMALL:
        return "model: so large that its steps are computing, not waiting: a stack of it gains nothing"
    optimizer = parts.module.optimizer_factory([nn.Parameter(torch.zeros(1))])
    if type(optimizer) not in ELEMENTWISE:
        return f"optimizer: {type(optimizer).__name__} looks at more than each weight by itself"
    for group, key in OURS.items():
        if values[group].get(key):
            return f"{group}.{key}={values[group][key]}: a stack does not do that"
    if values.get("init_from") is not None:
        return f"init_from={values['init_from']}: a stack begins with drawn weights"
    if type(parts.trainer.accelerator) is not CPUAccelerator or parts.trainer.world_size > 1:
        return "accelerator: not one processor"
    if parts.trainer.precision != "32-true":
        return f"trainer.precision={parts.trainer.precision}: a stack computes in 32-true"
    for key, value in flatten({name: values.get(name) for name in ALONE}).items():
        off = (value in (None, False, 0, 0.0) and key not in OFF) or not unlike(key, value, OFF.get(key))
        if key.removeprefix("trainer.") not in DONE and not off:
            return f"{key}={value}: a stack does not do that"
    if data.train_transform() is not None or data.eval_transform() is not None:
        return "data: its batches are transformed, one member's at a time"
    if any(is_overridden(method, data, DataModule) for method in (*LOADERS, *TRANSFER_HOOKS)):
        return f"data: {type(data).__name__} makes batches of its own, or sees each on its way"
    for callback in parts.callbacks:
        if type(callback) not in CALLBACKS:
            return f"callbacks: {type(callback).__name__} watches one run"
    targets = [entry["_target_"] for entry in (values["logger"] or {}).values() if entry]
    if other := [t for t in targets if t != f"{TensorBoard.__module__}.{TensorBoard.__qualname__}"]:
        return f"logger: {other[0]} follows one run"
    return None


def check(stack: Stack, tables: Any, members: Sequence[Any], parts: Parts) -> Checked:
    """Train some members alone for a few batches, the shorter last one among them, and compare with the stack.

    The stack is used up: its weights have moved. Raises StackError where it does something else.
    """
    loop, last = parts.module.loop, len(members) - 1
    steps = loop.steps(int(parts.trainer.max_epochs or 1), -1)
    picked = sorted({round(i * last / (COMPARED - 1)) for i in range(COMPARED)})
    lone = {row: Lone(parts.module.network, members[row], loop, steps) for row in picked}
    exact, generator = True, torch.Generator().manual_seed(0)

    def gradients(inputs: Tensor, targets: Tensor) -> bool:
        """Whether outputs and gradients of the stack are those of the lone members, to the bit."""
        _, outputs = stack.backward(inputs, targets, share=loop.accumulate, add=False)
        found: list[tuple[Any, Any]] = [
            (each.backward(inputs[row].clone(), targets[row].clone()), outputs[row]) for row, each in lone.items()
        ]
        found += [
            (weight.grad, stack.gradients[name][row])
            for row, each in lone.items()
            for name, weight in each.network.named_parameters()
        ]
        return all(same(*pair) for pair in found)

    def random(inputs: Tensor, targets: Tensor) -> bool:
        """The same of numbers more random than the data's: of those, a few whole ones may agree by chance."""
        return not inputs.is_floating_point() or gradients(torch.randn(inputs.shape, generator=generator), targets)

    tables.begin(loop.epoch)
    begun = _besides(parts.module.network)
    try:
        for number in sorted({0, min(1, loop.length - 1), loop.length - 1}):
            inputs, targets = tables.batch(number)
            exact &= gradients(inputs, targets)
            stack.step()
            for each in lone.values():
                each.step()
            exact &= random(inputs, targets)
        weights = sum(weight.numel() for weight in parts.module.network.parameters()) * len(lone)
        for _ in range(ENOUGH // weights):  # of a small network a few batches are few numbers
            exact = exact and random(inputs, targets)
    except Exception as error:  # vmap refuses in many ways: random numbers, data-dependent control, in-place writes
        raise StackError(f"model: it can't be stacked: {said(error)}") from error
    for name, value in _besides(next(iter(lone.values())).network).items():
        if begun.get(name) != value:
            raise StackError(f"model: {name} changes as it trains, and is none of its weights")
    for row, each in lone.items():
        mine, theirs = each.network.state_dict(), stack.state_of(row, waiting=False)
        assert theirs.optimizer is not None
        exact &= same(each.optimizer.state_dict()["state"], theirs.optimizer["state"]) and same(mine, theirs.weights)
        finite = all(bool(torch.isfinite(weight).all()) for weight in mine.values())
        if finite and not all(torch.allclose(mine[name], theirs.weights[name], **CLOSE) for name in mine):
            raise StackError("model: a stack's steps are not those of the lone run")
    return Checked(exact, _evaluates(stack, tables, lone, parts))


def _besides(network: nn.Module) -> dict[str, str]:
    """Return what the layers keep besides weights, buffers and layers, as text."""
    found = {}
    for prefix, layer in network.named_modules():
        for name, value in vars(layer).items():
            if name not in vars(nn.Module()):
                found[f"{prefix}.{name}".lstrip(".")] = re.sub(" at 0x[0-9a-f]+", "", repr(value))
    return found


@torch.no_grad()
def _evaluates(stack: Stack, tables: Any, lone: dict[int, Lone], parts: Parts) -> bool:
    parts.module.network.eval()
    for row, each in lone.items():
        each.network.eval().load_state_dict(stack.weights_of(row))
    agree = all(
        torch.equal(each.network(inputs[row].clone()), outputs[row])
        for inputs, _ in tables.part("val", parts.trainer.limit_val_batches)
        for outputs in [stack.outputs(inputs)]
        for row, each in lone.items()
    )
    parts.module.network.train()
    return agree


class Lone:
    """A member by itself, stepped as its lone run steps."""

    def __init__(self, network: nn.Module, member: Any, loop: Any, steps: int) -> None:
        self.network, self.loss, self.share = deepcopy(network).train(), member.numbers.loss, loop.accumulate
        self.network.load_state_dict(member.state.weights)
        self.optimizer = member.numbers.optimizer(self.network.parameters())
        if member.numbers.scheduler is not None:
            member.numbers.scheduler(self.optimizer, steps, steps)  # it sets the first step's numbers
        if member.state.optimizer is not None:
            self.optimizer.load_state_dict(deepcopy(member.state.optimizer))  # it steps in place
        self.clip = nn.utils.clip_grad_value_ if loop.clip_algorithm == "value" else nn.utils.clip_grad_norm_
        self.limit = member.numbers.clip

    def backward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        outputs: Tensor = self.network(inputs)
        (self.loss(outputs, targets) / self.share).backward()
        return outputs.detach()

    def step(self) -> None:
        if self.limit:
            self.clip(self.network.parameters(), self.limit)
        self.optimizer.step()


def same(one: Any, other: Any) -> bool:
    """Whether two states hold the same bits; NaN is NaN."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if not isinstance(one, Tensor):
        return bool(one == other)
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
