"""Hydra's launchers, as far as a sweep has to tell them apart."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gradloop.errors import ConfigError
from gradloop.process import tell


class Launcher(NamedTuple):
    """Hydra's launcher. kind: basic, joblib, submitit_local, submitit_slurm or other."""

    kind: str
    width: int  # jobs at once
    cores: int  # that each may use


def launcher_of(config: Any) -> Launcher:
    """Return the launcher that Hydra's config names; raise ConfigError for one that can't run a job."""
    launcher = config.hydra.launcher
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = str(launcher._target_).rpartition(".")[2]
    if name == "JoblibLauncher":
        n_jobs = int(launcher.n_jobs)
        if n_jobs == 0:
            raise ConfigError("hydra.launcher.n_jobs=0: expected 1 or more, or -1 for as many as there are cores")
        width = n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs)  # as joblib counts: -1 is all of them
        # joblib runs a single job at a time in this very process
        return Launcher("joblib" if width > 1 else "basic", width, max(1, cores // width))
    if name == "LocalLauncher":
        each = int(launcher.cpus_per_task or 1)
        return Launcher("submitit_local", max(1, cores // each), each)
    if name == "SlurmLauncher":
        return Launcher("submitit_slurm", int(launcher.array_parallelism), int(launcher.cpus_per_task or 1))
    return Launcher("basic" if name == "BasicLauncher" else "other", 1, cores)


@contextlib.contextmanager
def worker_pool(config: Any) -> Iterator[None]:
    """Have joblib's workers forked from one process that imports torch and gradloop once; end them afterwards.

    That process begins at once, while the sweep is still being planned. By joblib's own way each worker would import
    everything for itself, which takes longer than a short run. What they are given, and that one may be killed
    without the others, stays as it is. Only where processes fork, and not in a script of one's own: multiprocessing
    would import that again in each worker.
    """
    launcher = launcher_of(config)
    if launcher.kind != "joblib":
        yield
        return
    script = Path(getattr(sys.modules["__main__"], "__file__", "gradloop-train")).name
    if hasattr(os, "fork") and script.startswith("gradloop-"):
        from multiprocessing import forkserver, resource_tracker, set_forkserver_preload

        from joblib.externals.loky.backend.context import set_start_method

        set_start_method("forkserver", force=True)
        set_forkserver_preload(["gradloop.sweeps.worker_imports"])
        tell(cores=launcher.cores)  # the workers inherit it
        resource_tracker.ensure_running()
        _start_ignoring_ctrl_c(forkserver.ensure_running)
    try:
        yield
    finally:
        _end_pool()


def _start_ignoring_ctrl_c(start: Callable[[], None]) -> None:
    """Start a process that ignores Ctrl-C, which is for the sweep; one that comes meanwhile reaches the sweep."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited too: `worker_imports` takes it back
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        start()
    finally:
        signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _end_pool() -> None:
    """End joblib's idle workers now; at exit it would wait seconds while each unloads what it has imported."""
    if "joblib" in sys.modules:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown(kill_workers=True)
    from multiprocessing.forkserver import _forkserver

    if pid := getattr(_forkserver, "_forkserver_pid", None):  # it might still fork for a sweep that ended
        os.kill(pid, signal.SIGKILL)
