"""What code of the user's own keeps in plain attributes and training changes: saved, and given back."""

import functools
import hashlib
import io
import sys
from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from gradloop.callbacks.hook import Hook, gathered, share_of
from gradloop.callbacks.packing import filled, packed, unpacked

LIBRARIES = {"torch", "torchvision", "torchmetrics", "lightning", "pytorch_lightning", "gradloop"}  # keep their state
# what torch, Lightning and gradloop keep in each of theirs
NOT_ITS_OWN: dict[type, set[str]] = {
    pl.LightningModule: {*vars(pl.LightningModule())},
    nn.Module: {*vars(nn.Module())},
    Hook: {"run", "loop", "monitor", "mode", "found"},
    torch.optim.Optimizer: {*vars(torch.optim.SGD([nn.Parameter(torch.zeros(1))]))},
}
GONE = {"kind": "gone", "items": []}  # of an attribute that was deleted
Kept = dict[str, dict[str, Any]]


class Attributes(Hook):
    """Keeps what the user's own modules, layers, losses, callbacks and optimizers hold in attributes: `self.n += 1`.

    Numbers, texts, tensors, arrays, generators and collections of them, where they differ from what they were when
    the training began. A callback with a `state_dict` of its own keeps its state by that. What can't be kept is told.
    """

    any_module = True
    order = -1  # after `Restored`, which validates what waits for it; what others do at an epoch's start comes later

    def __init__(self) -> None:
        self.first: Kept | None = None  # what the attributes were
        self.begun: dict[str, dict[str, str]] = {}  # the same, as digests
        self.before: Kept | None = None  # a validation
        self.saved: Kept = {}  # of the checkpoint that this run goes on from
        self.stale = False  # whether a validation has come since that was saved
        self.told: set[str] = set()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self.stale:
            self.saved, self.stale = self._kept(trainer, pl_module), False
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
        self.before, self.stale = None, bool(self.saved)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._give_back(trainer, pl_module)  # none of its batches was left
        self.saved, self.stale = {}, False

    def _give_back(self, trainer: pl.Trainer, module: Any) -> None:
        if self.first is None:
            holders = list(holders_of(trainer, module))
            self.first = {name: plain_attributes(holder) for name, holder in holders}
            self.begun = {name: digests(holder) for name, holder in holders}
        for name, holder in holders_of(trainer, module) if self.saved else ():
            put(holder, self.saved.get(name, {}), module.device)

    def reset(self, module: nn.Module) -> None:
        """Give a module's layers back what they began with: those of its best weights are laid over that."""
        for name, layer in layers_of(module) if self.first is not None else ():
            now = digests(layer)
            began = {
                k: v for k, v in (self.first or {}).get(name, {}).items() if now.get(k) != self.begun[name].get(k)
            }
            put(layer, began, None)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        kept = self._kept(trainer, pl_module) if self.before is None else self.before
        if any(every := gathered(self.saved or kept)):
            checkpoint.setdefault("gradloop", {})["attributes"] = every

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.saved = share_of(checkpoint["gradloop"].get("attributes", [{}]))

    def _kept(self, trainer: pl.Trainer, module: Any) -> Kept:
        found: Kept = {}
        for name, holder in holders_of(trainer, module) if self.begun else ():
            was, now = self.begun.get(name, {}), digests(holder)
            changed = {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
            for key in sorted(changed):
                if key not in now:
                    found.setdefault(name, {})[key] = GONE
                elif now[key].startswith("no "):
                    self._tell(f"{type(holder).__qualname__}.{key}", now[key], new=key not in was)
                else:
                    found.setdefault(name, {})[key] = packed(vars(holder)[key])
        return found

    def _tell(self, name: str, why: str, *, new: bool) -> None:
        if name not in self.told and not (new and why.startswith("no 0 ")):
            self.told.add(name)
            what = why.removeprefix("no ").partition("@")[0]
            print(f"warning: {name}: no checkpoint keeps {what}; a resumed run begins it anew", file=sys.stderr)


def holders_of(trainer: pl.Trainer, module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield (name, object) of what is the user's own and keeps its state in no other way."""
    yield from layers_of(module)
    loss = getattr(module, "loss", None)
    if not isinstance(loss, nn.Module) and hasattr(loss, "__dict__") and is_own(type(loss).__module__):
        yield "loss", loss
    for number, callback in enumerate(trainer.callbacks):
        by = next((kind for kind in type(callback).__mro__ if "state_dict" in vars(kind)), pl.Callback)
        if is_own(type(callback).__module__) and not is_own(by.__module__):
            # named by its kind, and by how many of it come before: other callbacks may come and go
            nth = sum(type(other) is type(callback) for other in trainer.callbacks[:number])
            yield f"callback {type(callback).__module__}.{type(callback).__qualname__} {nth}", callback
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


def own_attributes(holder: Any) -> dict[str, Any]:
    """Return an object's attributes, but for those that torch and Lightning keep, and what is computed once."""
    theirs = next((names for kind, names in NOT_ITS_OWN.items() if isinstance(holder, kind)), set())
    return {
        name: value
        for name, value in getattr(holder, "__dict__", {}).items()
        if name not in theirs and not isinstance(getattr(type(holder), name, None), functools.cached_property)
    }


def plain_attributes(holder: Any) -> dict[str, Any]:
    """Return those that can be kept, packed."""
    return {name: packed(value) for name, value in own_attributes(holder).items() if is_plain(value)}


def is_plain(value: Any) -> bool:
    try:
        packed(value)
    except Exception:  # numpy and torch raise what they like on odd ones
        return False
    return True


def digests(holder: Any) -> dict[str, str]:
    """Return a digest of each attribute that can be kept; of others that may change, "no " and what they are."""
    found = {}
    for name, value in own_attributes(holder).items():
        if is_plain(value):
            memory = io.BytesIO()
            torch.save(packed(value), memory)
            found[name] = hashlib.blake2b(memory.getbuffer()).hexdigest()
        elif isinstance(value, list | tuple | set | dict | deque):
            found[name] = f"no {len(value)} entries of this {type(value).__name__}"
        elif isinstance(value, Enum):
            found[name] = f"no {type(value).__qualname__}@{value.name}"
        elif is_own(type(value).__module__) and not isinstance(value, nn.Module | pl.Trainer | type):
            inner = {key: part for key, part in getattr(value, "__dict__", {}).items() if is_plain(part)}
            found[name] = f"no {type(value).__qualname__}@{sorted(inner.items(), key=lambda item: item[0])}"
    return found


def put(holder: Any, saved: dict[str, Any], device: Any) -> None:
    """Set attributes; what another one of the holder's, which has not changed, is the same as is replaced."""
    own = vars(holder)
    for name, value in saved.items():
        if value == GONE:
            own.pop(name, None)
            continue
        old, new = own.get(name), unpacked(value, device)
        shared = any(other is old for key, other in own.items() if key not in saved)
        setattr(holder, name, new if shared else filled(old, new))
