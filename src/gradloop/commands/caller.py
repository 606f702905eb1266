"""What a run changes in the process of its caller, a notebook say, is put back at its end."""

import contextlib
import io
import logging
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

from gradloop.process import VARIABLE

# SEED: Lightning's. NVML: how torch asks for GPUs
VARIABLES = (VARIABLE, "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "PYTORCH_NVML_BASED_CUDA_CHECK")
ONE_AT_A_TIME = threading.RLock()  # Hydra, logging and torch's random numbers are one for all threads of a process
LIBRARIES = "gradloop.training.machine"


@contextlib.contextmanager
def left_as_it_was() -> Iterator[None]:
    """Give back to the caller's process what a run changes in it, and let no other thread's run change it meanwhile.

    Random numbers, threads, output, logging, warnings, the environment. After an error, too, which Lightning's
    `isolate_rng` does not do. What a run has imported is left as its import leaves it: not seeded, with as many
    threads.
    """
    with ONE_AT_A_TIME, contextlib.ExitStack() as at_the_end:
        _let_print(at_the_end)
        at_the_end.enter_context(warnings.catch_warnings())
        at_the_end.callback(logging.captureWarnings, _are_captured())
        at_the_end.callback(logging.root.setLevel, logging.root.level)
        _keep_out(logging.root.level, at_the_end)
        for name in VARIABLES:
            if name in os.environ:
                at_the_end.callback(os.environ.update, {name: os.environ[name]})
            else:
                at_the_end.callback(os.environ.pop, name, None)
        at_the_end.callback(random.setstate, random.getstate())
        at_the_end.callback(_numpy())
        at_the_end.callback(_torch())
        at_the_end.callback(_libraries())
        yield


def _let_print(at_the_end: contextlib.ExitStack) -> None:
    """Show "?" for what the caller's output can't, and drop what is said where it has none."""
    for name, redirected in (("stdout", contextlib.redirect_stdout), ("stderr", contextlib.redirect_stderr)):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed at the end
            at_the_end.enter_context(redirected(at_the_end.enter_context(nowhere)))
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            at_the_end.callback(stream.reconfigure, errors=stream.errors)
            stream.reconfigure(errors="replace")


def _are_captured() -> bool:
    """Whether warnings go to the log: then asking for it changes nothing."""
    shows = warnings.showwarning
    logging.captureWarnings(True)
    captured = warnings.showwarning is shows
    logging.captureWarnings(captured)
    return captured


def _keep_out(level: int, at_the_end: contextlib.ExitStack) -> None:
    """Let the caller's handlers hear what they would hear without a run, and only warnings of the run itself.

    level: the root logger's, which a run lowers for its own file.
    """

    def heard(record: logging.LogRecord) -> bool:
        logger: logging.Logger | None = logging.getLogger(record.name)
        if record.name.partition(".")[0] in ("gradloop", "lightning"):
            return record.levelno >= logging.WARNING
        while logger is not None and not logger.level:
            logger = logger.parent
        return record.levelno >= (level if logger in (logging.root, None) else logger.level)

    for handler in logging.root.handlers:
        handler.addFilter(heard)
        at_the_end.callback(handler.removeFilter, heard)


def _numpy() -> Callable[[], object]:
    if (numpy := sys.modules.get("numpy")) is not None:
        state = numpy.random.get_state()
        return lambda: numpy.random.set_state(state)
    return lambda: "numpy" in sys.modules and sys.modules["numpy"].random.seed()


def _torch() -> Callable[[], object]:
    if (torch := sys.modules.get("torch")) is not None:
        state = torch.get_rng_state()
        return lambda: torch.set_rng_state(state)
    return lambda: "torch" in sys.modules and sys.modules["torch"].seed()


def _libraries() -> Callable[[], object]:
    """Return what gives torch its threads, and Lightning's loggers their settings, as they are or come."""
    if (there := sys.modules.get(LIBRARIES)) is not None:
        return there.as_they_are()
    return lambda: LIBRARIES in sys.modules and sys.modules[LIBRARIES].as_imported()
