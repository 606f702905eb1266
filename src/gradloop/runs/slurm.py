"""Being requeued by SLURM: ask for it, and find the run again when the job starts anew."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gradloop.runs.finding import runs_below
from gradloop.runs.record import INTERRUPTED, RUNNING


def job_id() -> str | None:
    """Return the number of the SLURM job that this process is part of."""
    return os.environ.get("SLURM_JOB_ID")


def requeue() -> str | None:
    """Ask SLURM to run this job again; return what came of it, or None outside of a SLURM job."""
    job = job_id()
    if job is None or shutil.which("scontrol") is None:
        return None
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    return f"requeued SLURM job {job}" if done.returncode == 0 else f"scontrol requeue {job}: {done.stderr.strip()}"


def requeued_run(root: Path, overrides: Sequence[str]) -> Path | None:
    """Return the unfinished run of `root` that this job began with this command before it was requeued."""
    if not int(os.environ.get("SLURM_RESTART_COUNT") or 0):
        return None
    for folder, record in reversed(list(runs_below(root))):
        ours = record.get("slurm_job") == job_id() and record.get("overrides") == list(overrides)
        if ours and record.get("status") in (RUNNING, INTERRUPTED):
            return folder
    return None
