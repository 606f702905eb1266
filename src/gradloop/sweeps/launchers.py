"""Hydra's launchers, as far as a sweep has to tell them apart."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

IMPORTS = ["gradloop.config.one_run", "gradloop.run_parts", "gradloop.callbacks.tensorboard_logger"]  # of every run


def launcher_kind(config: Any) -> str:
    """ "basic", "joblib", "submitit_local", "submitit_slurm" or "other", from Hydra's config."""
    target = str(config.hydra.launcher._target_)
    for part, kind in (("BasicLauncher", "basic"), ("JoblibLauncher", "joblib"), ("LocalLauncher", "submitit_local"),
                       ("SlurmLauncher", "submitit_slurm")):  # fmt: skip
        if target.endswith(part):
            return kind
    return "other"


def width_of(config: Any, kind: str) -> tuple[int, int]:
    """How many jobs run at once, and the cores that each may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    launcher = config.hydra.launcher
    if kind == "joblib":
        n_jobs = int(launcher.n_jobs)
        width = n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs)  # as joblib counts: -1 is all of them
        return width, max(1, cores // width)
    if kind == "submitit_local":
        each = int(launcher.cpus_per_task or 1)
        return max(1, cores // each), each
    if kind == "submitit_slurm":
        return int(launcher.array_parallelism), int(launcher.cpus_per_task or 1)
    return 1, cores


def start_pool(kind: str) -> None:
    """Import torch and gradloop once for all of joblib's workers, while the sweep is being planned.

    The workers are then forks of that process, multiprocessing's fork server; by joblib's own way each would import
    everything for itself, which takes longer than a short run. What they are given, and that one may be killed
    without the others, stays as it is. Only where processes fork, and not in a script of one's own: multiprocessing
    would import that again in each worker.
    """
    script = Path(getattr(sys.modules["__main__"], "__file__", "gradloop-train")).name
    if kind == "joblib" and hasattr(os, "fork") and script.startswith("gradloop-"):
        from multiprocessing import forkserver, set_forkserver_preload

        from joblib.externals.loky.backend.context import set_start_method

        set_start_method("forkserver", force=True)
        set_forkserver_preload(IMPORTS)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for the sweep
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, before)


def end_pool(kind: str) -> None:
    """End joblib's idle workers now; at exit it would wait seconds while each unloads what it has imported."""
    if kind == "joblib":
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown(kill_workers=True)
        from multiprocessing.forkserver import _forkserver

        if pid := getattr(_forkserver, "_forkserver_pid", None):  # it might still fork for a sweep that ended
            os.kill(pid, signal.SIGTERM)
