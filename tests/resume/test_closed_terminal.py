"""Closing the terminal saves and ends a run as SIGTERM does."""

from __future__ import annotations

import importlib
import multiprocessing.forkserver
import os
import pty
import select
import signal
import sys
import time
from pathlib import Path

import pytest

import gradloop
from gradloop.runs.record import read_record
from gradloop.sweeps.sweep_folder import read_sweep


def hung_up(arguments: list[str], ready: Path) -> int:
    """Run the command in a terminal, close that when a file is there; return the exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        code = 1
        try:
            sys.stdin, sys.stdout, sys.stderr = (
                os.fdopen(n, m, closefd=False) for n, m in ((0, "r"), (1, "w"), (2, "w"))
            )
            os.environ["TERM"] = "xterm"
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it, as nohup does
            importlib.reload(multiprocessing.forkserver)  # as in the kit's Child
            sys.argv = ["gradloop-train", *arguments]
            from gradloop.commands.train import main

            main()
        except SystemExit as leaving:
            code = leaving.code
        finally:
            os._exit(code)
    until = time.monotonic() + 200
    while not ready.exists() and time.monotonic() < until:  # it draws its bar meanwhile
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 65536)
    os.close(terminal)
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > until + 60:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return os.waitstatus_to_exitcode(ended[1])


LONG = ["data=digits", "data.batch_size=8", "trainer.max_epochs=100000", "callbacks.checkpoints.every_seconds=0.1"]


def test_closing_the_terminal_saves_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ready = folder / "checkpoints" / "previous.ckpt"
    assert hung_up([*LONG, "seed=0", f"hydra.run.dir={folder}"], ready) == 128 + signal.SIGHUP
    record = read_record(folder)
    assert record["status"] == "interrupted"
    assert record["reason"].startswith("stopped by SIGHUP; go on with: gradloop-train resume=")
    resumed = gradloop.train([f"resume={folder}", f"trainer.max_epochs={record['epochs'] + 1}"])
    assert resumed["status"] == "completed"


@pytest.mark.slow
def test_closing_the_terminal_saves_the_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    ready = folder / "0" / "checkpoints" / "previous.ckpt"
    assert hung_up(["-m", *LONG, "seed=0,1", f"hydra.sweep.dir={folder}"], ready) == 128 + signal.SIGHUP
    sweep = read_sweep(folder)
    assert [job.status for job in sweep.jobs] == ["interrupted", "interrupted"]  # trained as one
    assert sweep.jobs[0].record["reason"].startswith("stopped by SIGHUP; go on with")
    assert (folder / "leaderboard.md").exists()
