"""What code of the user's own keeps in plain attributes and training changes: saved, and given back."""

import hashlib
import io
import sys
from collections import deque
from collections.abc import Iterator
from copy import copy
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from gradloop.callbacks.hook import Hook, gathered, share_of
from gradloop.callbacks.packing import packed, put_state, unpacked

LIBRARIES = {"torch", "torchvision", "torchmetrics", "lightning", "pytorch_lightning", "gradloop"}  # keep their state
# what torch and Lightning keep in every module and optimizer
NOT_ITS_OWN = {*vars(pl.LightningModule()), *vars(torch.optim.SGD([nn.Parameter(torch.zeros(1))]))}
Kept = dict[str, dict[str, Any]]


class Attributes(Hook):
    """Keeps what the user's own modules, layers, callbacks and optimizers hold in attributes: `self.count += 1`.

    Numbers, texts, tensors, arrays, generators and collections of them, where they differ from what they were when
    the training began. A callback with a `state_dict` keeps its state by that. What can't be kept is told once.
    """

    any_module = True
    order = -2  # first: what others do at an epoch's start comes after it

    def __init__(self) -> None:
        self.begun: dict[str, dict[str, str]] | None = None  # what the attributes were, as digests
        self.before: Kept | None = None  # a validation
        self.saved: Kept = {}  # of the checkpoint that this run goes on from
        self.told: set[str] = set()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._give_back(trainer, pl_module)
        if not self.loop.batch:
            self.saved = {}

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Give back once more: where a run goes on within an epoch, that has begun once more to others."""
        self._give_back(trainer, pl_module)
        self.saved = {}

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            self._give_back(trainer, pl_module)
            self.before = self._kept(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.saved:  # all that was left of an epoch
            self.saved = self._kept(trainer, pl_module)
        self.before = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._give_back(trainer, pl_module)  # none of its batches was left
        self.saved = {}

    def _give_back(self, trainer: pl.Trainer, module: Any) -> None:
        if self.begun is None:
            self.begun = {name: digests(holder) for name, holder in holders_of(trainer, module)}
        for name, holder in holders_of(trainer, module) if self.saved else ():
            put(holder, self.saved.get(name, {}), module.device)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        kept = self._kept(trainer, pl_module) if self.before is None else self.before
        if any(every := gathered(self.saved or kept)):
            checkpoint.setdefault("gradloop", {})["attributes"] = every

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.saved = share_of(checkpoint["gradloop"].get("attributes", [{}]))

    def _kept(self, trainer: pl.Trainer, module: Any) -> Kept:
        found: Kept = {}
        begun = self.begun or {}
        for name, holder in holders_of(trainer, module) if begun else ():
            was = begun.get(name, {})
            for key, now in digests(holder).items():
                if now != was.get(key) and not now.startswith("no "):
                    found.setdefault(name, {})[key] = packed(vars(holder)[key])
                elif now != was.get(key, "no "):
                    self._tell(f"{type(holder).__qualname__}.{key}", now)
        return found

    def _tell(self, name: str, why: str) -> None:
        if name not in self.told:
            self.told.add(name)
            told = f"warning: {name}: no checkpoint keeps {why.partition(' ')[2]}; a resumed run begins it anew"
            print(told, file=sys.stderr)


def holders_of(trainer: pl.Trainer, module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield (name, object) of what is the user's own and keeps its state in no other way."""
    yield from layers_of(module)
    for callback in trainer.callbacks:
        if is_own(type(callback).__module__) and not is_overridden("state_dict", callback, pl.Callback):
            yield f"callback {callback.state_key}", callback
    for number, optimizer in enumerate(trainer.optimizers):
        if is_own(type(optimizer).__module__):
            yield f"optimizer {number}", optimizer


def layers_of(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in module.named_modules():
        if is_own(type(layer).__module__):
            yield f"module {name}", layer


def is_own(name: str | None) -> bool:
    """Whether a dotted name, of a class or its module, is the user's own."""
    return name is not None and name.partition(".")[0] not in LIBRARIES


def give_layers(module: nn.Module, content: dict[str, Any]) -> None:
    """Give a module that is evaluated what a checkpoint has of its attributes."""
    saved = content.get("gradloop", {}).get("attributes") or [{}]
    for name, layer in layers_of(module):
        put(layer, saved[0].get(name, {}), next((weight.device for weight in module.parameters()), None))


def digests(holder: Any) -> dict[str, str]:
    """Return a digest of each attribute that can be kept; of a collection that can't, "no " and what it holds."""
    found = {}
    for name, value in vars(holder).items():
        if name in NOT_ITS_OWN:
            continue
        try:
            memory = io.BytesIO()
            torch.save(packed(value), memory)
            found[name] = hashlib.blake2b(memory.getbuffer()).hexdigest()
        except TypeError as error:
            if isinstance(value, list | tuple | set | dict | deque) and not isinstance(error.args[0], nn.Parameter):
                found[name] = f"no {len(value)} of {type(error.args[0]).__qualname__}"
    return found


def put(holder: Any, saved: dict[str, Any], device: Any) -> None:
    for name, value in saved.items():
        old, new = vars(holder).get(name), unpacked(value, device)
        kind = value["kind"] if isinstance(value, dict) else ""
        if kind == "generator":
            if old is not None:
                put_state(old, new)
        elif isinstance(old, Tensor) and isinstance(new, Tensor) and old.is_leaf and old.requires_grad:
            with torch.no_grad():  # an optimizer may hold it
                old.copy_(new)
        elif kind in ("list", "dict") and type(old) not in (list, dict) and isinstance(old, dict | deque):
            held = copy(old)  # of its own kind: with its length, or its default
            held.clear()
            held.update(new) if isinstance(held, dict) else held.extend(new)
            setattr(holder, name, held)
        else:
            setattr(holder, name, new)
