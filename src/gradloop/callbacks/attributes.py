"""What code of the user's own keeps in plain attributes and training changes: saved, and given back."""

import functools
import hashlib
import pickle
import re
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

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
Kept = dict[str, dict[str, Any]]  # by the name of who holds it


class Look(NamedTuple):
    """An attribute as it stands: its digest, and itself, packed; or of which kind it is, if that can't be kept."""

    digest: bytes
    value: Any = None
    unkept: str | None = None


class Attributes(Hook):
    """Keeps what the user's own modules, layers, losses, callbacks and optimizers hold in attributes: `self.n += 1`.

    Numbers, texts, tensors, arrays, generators and collections of them, where they differ from what they were when
    the training began. A callback with a `state_dict` of its own keeps its state by that. What can't be kept is told.
    """

    any_module = True
    order = -1  # after `Restored`, which validates what waits for it; what others do at an epoch's start comes later

    def __init__(self) -> None:
        self.begun: dict[str, dict[str, bytes]] | None = None  # what the attributes were, as digests
        self.first: Kept = {}  # those of layers, packed
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
        if self.begun is None:
            self.first = {name: plain(layer) for name, layer in layers_of(module)}
            self.begun = {name: digests(looks(holder)) for name, holder in holders_of(trainer, module)}
        for name, holder in holders_of(trainer, module) if self.saved else ():
            put(holder, self.saved.get(name, {}), module.device)

    def reset(self, module: nn.Module) -> None:
        """Give a module's layers back what they began with: those of its best weights are laid over that."""
        for name, layer in layers_of(module):
            now, was = digests(looks(layer)), (self.begun or {}).get(name, {})
            put(layer, {k: v for k, v in self.first.get(name, {}).items() if now.get(k) != was[k]}, None)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        kept = self._kept(trainer, pl_module) if self.before is None else self.before
        if any(every := gathered(self.saved or kept)):
            checkpoint.setdefault("gradloop", {})["attributes"] = every

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.saved = share_of(checkpoint["gradloop"].get("attributes", [{}]))

    def _kept(self, trainer: pl.Trainer, module: Any) -> Kept:
        found: Kept = {}
        if (begun := self.begun) is None:
            return found
        for name, holder in holders_of(trainer, module):
            was, now = begun.setdefault(name, {}), looks(holder)
            changed = {key: look for key, look in now.items() if look.digest != was.get(key)}
            for key, look in changed.items():
                # one that was made since may stay as it is
                if look.unkept and was.setdefault(key, look.digest) != look.digest:
                    self._tell(f"{type(holder).__qualname__}.{key}", look.unkept)
            kept = {key: look.value for key, look in changed.items() if not look.unkept}
            kept |= dict.fromkeys(was.keys() - now.keys(), GONE)
            if kept:
                found[name] = kept
        return found

    def _tell(self, name: str, what: str) -> None:
        if name not in self.told:
            self.told.add(name)
            print(f"warning: {name}: no checkpoint keeps {what}; a resumed run begins it anew", file=sys.stderr)


def holders_of(trainer: pl.Trainer, module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield (name, object) of what is the user's own and keeps its state in no other way."""
    yield from layers_of(module)
    loss = getattr(module, "loss", None)
    if not isinstance(loss, nn.Module) and is_own(type(loss).__module__):
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


def looks(holder: Any) -> dict[str, Look]:
    """Return how an object's own attributes stand, but for those that the user's code can't have changed."""
    theirs = next((names for kind, names in NOT_ITS_OWN.items() if isinstance(holder, kind)), set())
    return {
        name: found
        for name, value in getattr(holder, "__dict__", {}).items()
        if name not in theirs
        and not isinstance(getattr(type(holder), name, None), functools.cached_property)
        and (found := look_at(value)) is not None
    }


def look_at(value: Any) -> Look | None:
    """Return how a value stands; None for what is a library's, and keeps its state there."""
    try:
        kept = packed(value)
        return Look(hashlib.blake2b(pickle.dumps(kept)).digest(), kept)
    except Exception:  # numpy and torch raise what they like on odd ones
        pass
    collection = isinstance(value, list | tuple | set | dict | deque)
    if not collection and (isinstance(value, nn.Module | type) or not is_own(type(value).__module__)):
        return None
    try:
        inner = {key: part for key, part in getattr(value, "__dict__", {}).items() if type(part) in (int, float, str)}
        said = re.sub(" at 0x[0-9a-f]+", "", f"{value!r} {inner}")  # of an object that says nothing of itself
    except Exception:  # own code says what it likes
        return None
    kind = type(value).__qualname__
    what = f"the entries of this {kind}" if collection else f"a {kind}"
    return Look(hashlib.blake2b(said.encode(errors="surrogatepass")).digest(), unkept=what)


def digests(found: dict[str, Look]) -> dict[str, bytes]:
    return {name: look.digest for name, look in found.items()}


def plain(holder: Any) -> dict[str, Any]:
    """Return what can be kept of an object's attributes."""
    return {name: look.value for name, look in looks(holder).items() if not look.unkept}


def put(holder: Any, saved: dict[str, Any], device: Any) -> None:
    """Set attributes in place, but for what another one of the holder's, which has not changed, is as well."""
    for name, value in saved.items():
        own = vars(holder)
        if value == GONE:
            own.pop(name, None)
            continue
        old, new = own.get(name), unpacked(value, device)
        shared = any(other is old for key, other in own.items() if key not in saved)
        setattr(holder, name, new if shared else filled(old, new))
