"""Importing torch, Lightning and torchmetrics in less time."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Let Python's collector of reference cycles rest meanwhile.

    An import makes half a million objects that stay. The collector would go through them again and again, which
    takes a sixth of the time, and find next to nothing.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
