"""What this process is and may use: one of several of a run, how many cores, quicker imports."""

import atexit
import contextlib
import gc
import json
import os
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Let Python's collector of reference cycles rest meanwhile.

    An import makes half a million objects that stay. The collector would go through them again and again, which
    takes a sixth of the time, and find next to nothing. Nor need it look at them later: a process that has frozen
    what it began with, as a command's does, keeps what it imports, too.
    """
    enabled, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known and gc.get_freeze_count():  # which counts them one by one
            gc.freeze()
        if enabled:
            gc.enable()


SESSION = "gradloop_session"  # the module in which configs find what was written in this session
VARIABLE = "GRADLOOP_RUN"  # what processes that this one starts are told: JSON


def tell(**facts: Any) -> None:
    """Tell the processes that this one starts: `folder` and `seed` of the run they are part of, their `cores`.

    None: nothing of that any more.
    """
    os.environ[VARIABLE] = json.dumps({name: fact for name, fact in (told() | facts).items() if fact is not None})


def told() -> dict[str, Any]:
    """Return what the process that started this one has told."""
    return json.loads(os.environ.get(VARIABLE) or "{}")


def is_second() -> bool:
    """Return whether this is one of several processes of a run, and not the first, which writes."""
    return int(os.environ.get("LOCAL_RANK") or 0) > 0 or int(os.environ.get("NODE_RANK") or 0) > 0


def cores_here() -> int:
    """Return how many cores of this machine the system lets this process use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores() -> int:
    """Return how many cores this process may use: its share, where a sweep runs several at once."""
    return int(told().get("cores") or cores_here())


def ends_quickly() -> list[int]:
    """Return a list for the exit code of a command that is this whole process: with it, it ends without a teardown.

    Taking the libraries down, object by object, takes a quarter of a second and touches 140 MB of them. All that is
    registered from now on to be done at the end is done before. A process of somebody else's ends as it likes.
    """
    ended: list[int] = []
    main = sys.modules["__main__"]
    by_module = main.__spec__ is not None and main.__spec__.name.partition(".")[0] == "gradloop"
    if by_module or os.path.basename(getattr(main, "__file__", None) or "").partition("-")[0] == "gradloop":
        atexit.register(_end, ended)  # the first to be registered is the last to be asked
    return ended


def _end(ended: list[int]) -> None:
    if ended:
        import logging

        logging.shutdown()  # it was there before, and would come later
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(ended[0])
