"""Python's values as plain data, which a checkpoint gives back."""

import random
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

SCALARS = (bool, int, float, str, type(None))
GROUPS = {kind.__name__: kind for kind in (list, tuple, set, frozenset)}
MAPPINGS = {kind.__name__: kind for kind in (dict, OrderedDict, Counter)}
FACTORIES = {kind.__name__: kind for kind in (int, float, str, list, dict, set)}  # of a defaultdict
BIT_GENERATORS = {name: getattr(np.random, name) for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")}
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def packed(value: Any, *, inside: bool = False) -> Any:
    """Return a copy as plain data, which a checkpoint gives back; raise TypeError with what can't be.

    inside: of a collection: a generator there would be another one.
    """
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is Tensor and value.layout is torch.strided:
        copy = value.detach().clone()
        return copy if copy.device.type == "cpu" else {"kind": "there", "items": [copy.cpu()]}
    if (kind is np.ndarray or isinstance(value, np.generic)) and value.dtype.kind in "biuf":
        return {"kind": "array" if kind is np.ndarray else "number", "items": [torch.from_numpy(np.array(value))]}
    if kind in (bytes, complex):
        return {"kind": kind.__name__, "items": [*value] if kind is bytes else [value.real, value.imag]}
    if kind in GENERATORS and not inside:
        return {"kind": "generator", "items": [kind.__name__, packed(_state(value))]}
    if kind in GROUPS.values():
        return {"kind": kind.__name__, "items": [packed(item, inside=True) for item in value]}
    if kind is deque:
        return {"kind": "deque", "items": [packed(item, inside=True) for item in value], "longest": value.maxlen}
    if kind in MAPPINGS.values() or (kind is defaultdict and value.default_factory in FACTORIES.values()):
        pairs = [[packed(key, inside=True), packed(item, inside=True)] for key, item in value.items()]
        more = {"factory": value.default_factory.__name__} if kind is defaultdict else {}
        return {"kind": kind.__name__, "items": pairs, **more}
    raise TypeError(value)


def unpacked(value: Any, device: Any = None) -> Any:
    """Return what was packed. device: where a tensor goes that was not on the processor."""
    if isinstance(value, list):
        return [unpacked(item, device) for item in value]
    if not isinstance(value, dict):
        return value
    kind, items = value["kind"], unpacked(value["items"], device)
    match kind:
        case "there":
            return items[0].to(device)
        case "array":
            return items[0].numpy()
        case "number":
            return items[0].numpy()[()]
        case "bytes":
            return bytes(items)
        case "complex":
            return complex(*items)
        case "generator":
            return _generator(*items)
        case "deque":
            return deque(items, value["longest"])
        case "defaultdict":
            return defaultdict(FACTORIES[value["factory"]], items)
    return GROUPS[kind](items) if kind in GROUPS else MAPPINGS[kind](items)


def filled(old: Any, new: Any) -> Any:
    """Return the new value in the old one's place, where that can hold it: others may hold it, too."""
    if isinstance(old, Tensor) and isinstance(new, Tensor) and (old.shape, old.dtype) == (new.shape, new.dtype):
        with torch.no_grad():
            return old.copy_(new)
    if type(old) is not type(new):
        return new
    if isinstance(old, list):
        old[:] = [filled(*pair) for pair in zip(old, new, strict=True)] if len(old) == len(new) else new
    elif isinstance(old, deque) and old.maxlen == new.maxlen:
        old.clear()
        old.extend(new)
    elif isinstance(old, set | dict):
        items = {key: filled(old.get(key), item) for key, item in new.items()} if isinstance(old, dict) else new
        old.clear()
        old.update(items)
    elif isinstance(old, GENERATORS):
        _put_state(old, _state(new))
    else:
        return new
    return old


def _state(generator: Any) -> Any:
    if isinstance(generator, torch.Generator | np.random.RandomState):
        return generator.get_state()
    return generator.getstate() if isinstance(generator, random.Random) else generator.bit_generator.state


def _put_state(generator: Any, state: Any) -> None:
    if isinstance(generator, torch.Generator | np.random.RandomState):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.bit_generator.state = state


def _generator(kind: str, state: Any) -> Any:
    if kind == "Generator" and isinstance(state, dict):
        made: Any = np.random.Generator(BIT_GENERATORS[state["bit_generator"]]())
    else:
        made = {"Generator": torch.Generator, "RandomState": np.random.RandomState, "Random": random.Random}[kind]()
    _put_state(made, state)
    return made
