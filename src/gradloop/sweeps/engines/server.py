"""The process that a sweep's others are forked from: it has imported torch and gradloop once."""

import contextlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from types import ModuleType
from typing import Any, TypeVar

from gradloop.errors import ConfigError
from gradloop.process import tell
from gradloop.runs.signals import STOPS
from gradloop.sweeps.engines import GRACE, JobSpec

Answer = TypeVar("Answer")
LOOK = 0.2  # seconds
TRIES = 3
_example: JobSpec | None = None  # of the server that was started last


def start_server(example: JobSpec) -> None:
    """Start the process that the jobs are forked from: it imports while the sweep is being planned.

    example: it imports what such a job needs.
    It leaves signals to the sweep, and so does a job's process until it can answer them: they are held back.
    """
    global _example
    _example = example
    if not hasattr(os, "fork"):
        return
    from multiprocessing import forkserver

    context().set_forkserver_preload(["gradloop.sweeps.engines.preload"])
    resource_tracker.ensure_running()  # or it would be started below, and let signals through again
    where = {"config_dir": example.config_dir, "config_name": example.config_name}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        tell(example={"overrides": example.runs[0].overrides, "where": where})
        forkserver.ensure_running()
    finally:
        tell(example=None)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def context() -> Any:
    return multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")


def started(target: Callable[..., None], *arguments: Any) -> Any:
    """Start a process for a function of a module; by a new server, where the last is killed meanwhile."""
    for _ in range(TRIES):
        process = context().Process(target=target, args=arguments)
        try:
            with _no_main_module():
                process.start()
            return process
        except (EOFError, ConnectionError):
            time.sleep(LOOK)  # until the system has seen to the end of it
            if _example is not None:
                start_server(_example)
    raise OSError("the process that the others are forked from is killed each time; was there memory for it?")


def elsewhere(function: Callable[..., Answer], *arguments: Any, given_up: Callable[[], bool] = bool) -> Answer:
    """Call a function that needs torch in another process: the sweep's own stays small.

    given_up: whether nobody waits for the answer any more: a signal has come. What the function calls may take hours.
    """
    receiving, sending = context().Pipe(duplex=False)
    process = started(_answer, sending, dict(os.environ), function, arguments)
    sending.close()
    answered = False
    try:
        while not receiving.poll(LOOK):
            if given_up():
                raise InterruptedError("stopped by a signal")
        answer = receiving.recv()
        answered = True
    except EOFError:
        raise EOFError("the process that was to answer is gone; was there memory for it?") from None
    finally:
        if not answered:
            process.kill()
        process.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(
    sending: Any, environment: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    end_with_the_sweep(threading.Event())
    os.environ.update(environment)
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("gradloop.train")  # as a job's process has it
    answer: Any
    try:
        answer = function(*arguments)
    except SystemExit as error:
        answer = ConfigError(f"own code ends the program: sys.exit({error.code!r})")
    except Exception as error:
        answer = error
    with contextlib.suppress(BrokenPipeError):  # the sweep was killed meanwhile
        sending.send(answer)


def end_with_the_sweep(begun: threading.Event) -> None:
    """Let this process end when its sweep does: a run that has begun saves first."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()  # a pipe that the system closes, however the sweep ends
        if begun.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Hide the main module from multiprocessing, which would import it in each process.

    A script of the user's own, without a guard around its last line, would start the sweep again there.
    """
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
