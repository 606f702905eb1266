"""What a process does when a signal asks it to end: Ctrl-C, SIGTERM, a closed terminal (SIGHUP), SLURM's USR1."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from gradloop.errors import RunInterrupted

NAMES: dict[int, str] = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
NAMES |= {getattr(signal, name): name for name in ("SIGUSR1", "SIGHUP") if hasattr(signal, name)}  # not on Windows
STOPS = tuple(NAMES)


class Listening:
    """Hands the first signal to `first`, wherever the program is; one more than a second later ends the process.

    One order may come as two signals, from a process group and from its sweep: within a second they are one. What
    the process was started to ignore (`nohup`) stays ignored. A process that was forked from the one that listens
    leaves its end to that. received: the first signal's number.
    """

    def __init__(self, first: Callable[[int], object]) -> None:
        self.first = first
        self.received: int | None = None
        self.before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> Listening:
        for number in STOPS:
            if (handler := signal.getsignal(number)) is signal.SIG_IGN:
                continue
            try:
                signal.signal(number, self._take)
            except ValueError:  # not in the main thread: the caller handles signals
                break
            self.before[number] = handler
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def again(self) -> None:
        """Take a signal back from who has put a handler of its own before this one."""
        for number in self.before:
            signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if os.getpid() != self._process:
            return
        if self.received is None:
            self.received, self._since = number, now
            self.first(number)
        elif number != getattr(signal, "SIGUSR1", None) and now - self._since > 1.0:
            os._exit(128 + number)


def stop_at_once(number: int) -> NoReturn:
    """Raise RunInterrupted, wherever the program is: there is nothing to save yet."""
    raise RunInterrupted(f"stopped by {NAMES[number]}", signal_number=number)


def take_note(number: int) -> None:
    """Do nothing now: somebody looks at `received` where it is safe to end."""
