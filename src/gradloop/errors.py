"""Mistakes that a person can mend, each with the exit code that its kind has."""

import difflib
import errno
import os
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path


class GradloopError(Exception):
    """A mistake that one line explains. The command prints the line and exits with `exit_code`."""

    exit_code = 1


class ConfigError(GradloopError):
    """The command line or a YAML file asks for something that cannot be: exit code 2."""

    exit_code = 2


class DataError(GradloopError):
    """The data is missing, unreadable or unfit for training: exit code 3."""

    exit_code = 3


class CheckpointError(GradloopError):
    """A checkpoint, a run folder or the disk under it cannot be used: exit code 4."""

    exit_code = 4


class DivergedError(GradloopError):
    """Loss or gradients became NaN or infinite: exit code 5."""

    exit_code = 5


class RunInterrupted(BaseException):
    """A signal ended the run, after its state was saved if it had any: exit code 128 + signal number.

    No Exception, as KeyboardInterrupt is none: whoever catches all mistakes must not go on.
    """

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class RunPruned(Exception):  # noqa: N818 - no error: the sweep has seen enough
    """The sweep that a run belongs to has ended it early; its results so far stay."""


def disk_is_full(error: BaseException | None) -> bool:
    """Return whether an error, or what it was raised from, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        error = error.__cause__ or error.__context__
    return False


def may_not_write(error: BaseException | None) -> bool:
    """Return whether an error says that a place may only be read."""
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def too_long(error: BaseException) -> str | None:
    """Return one line for a path that is longer than the system takes; None for any other error."""
    if not isinstance(error, OSError) or error.errno != errno.ENAMETOOLONG:
        return None
    path = os.fsdecode(error.filename or "")
    shown = path if len(path) <= 100 else f"{path[:60]}…{path[-30:]}"
    return f"{shown}: a path of {len(path)} characters is longer than this system takes"


def own_frame(error: BaseException | None) -> str | None:
    """Return where in the user's own code an error comes from: "my_models.py:12, in forward"; None for elsewhere.

    It is the last frame that is neither a library's nor gradloop's.
    """
    libraries = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    not_own = tuple(os.path.join(place, "") for place in (*libraries, os.path.dirname(__file__)))
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    python = [frame for frame in frames if not frame.filename.endswith((".pyx", ".pxi", ".pxd"))]  # not Cython's
    own = [frame for frame in python if not frame.filename.startswith((*not_own, "<"))]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}, in {own[-1].name}" if own else None


def said(error: BaseException) -> str:
    """Return what an error says, in one line; of one out of the user's own code also its type and its place."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if (place := own_frame(error)) is None:
        return text or type(error).__name__
    return f"{type(error).__name__}{': ' * bool(text)}{text} ({place})"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest known name, or one that begins so, or an empty string."""
    word, known = str(word), list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    near = near or [name for name in known if len(word) > 2 and name.startswith(word)]
    return f"; did you mean '{near[0]}'?" if near else ""
