"""Python's values as plain data, which a checkpoint gives back."""

import random
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

SCALARS = (bool, int, float, str, type(None))


def packed(value: Any, *, inside: bool = False) -> Any:
    """Return a copy as plain data, which a checkpoint gives back; raise TypeError with what can't be.

    inside: of another collection: there, those of other kinds than list, tuple, set and dict would change theirs.
    """
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is Tensor and value.layout is torch.strided:
        copied = value.detach().clone()
        return copied if copied.device.type == "cpu" else {"kind": "there", "items": [copied.cpu()]}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        return {"kind": "array" if kind is np.ndarray else "number", "items": [torch.from_numpy(np.array(value))]}
    if isinstance(value, torch.Generator | np.random.Generator | random.Random):
        return {"kind": "generator", "items": [packed(_state(value))]}
    if kind in (list, tuple, set) or (kind is deque and not inside):
        return {"kind": "list" if kind is deque else kind.__name__, "items": [packed(i, inside=True) for i in value]}
    if kind is dict or (kind in (OrderedDict, Counter, defaultdict) and not inside):
        pairs = [[packed(key, inside=True), packed(item, inside=True)] for key, item in value.items()]
        return {"kind": "dict", "items": pairs}
    raise TypeError(value)


def unpacked(value: Any, device: Any = None) -> Any:
    if isinstance(value, list):
        return [unpacked(item, device) for item in value]
    if not isinstance(value, dict):
        return value
    items = unpacked(value["items"], device)
    match value["kind"]:
        case "there":
            return items[0].to(device)
        case "array":
            return items[0].numpy()
        case "number":
            return items[0].numpy()[()]
        case "generator":
            return items[0]
        case kind:
            return {"list": list, "tuple": tuple, "set": set, "dict": dict}[kind](items)


def _state(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    return generator.getstate() if isinstance(generator, random.Random) else generator.bit_generator.state


def put_state(generator: Any, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.bit_generator.state = state
