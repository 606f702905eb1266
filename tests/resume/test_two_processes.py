"""Two processes of one run stop after the same batch, whichever of them got the signal, and go on exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gradloop.runs.record import read_record
from processes import until
from resume.drawn_stops import TEMPLATE, differences, left_by
from toy_sweep import environment

TWO = ["data=digits", "data.batch_size=32", "seed=0", "threads=1", "accelerator=ddp_cpu", "trainer.max_epochs=40",
       "callbacks.checkpoints.every_seconds=0"]  # fmt: skip

OWN = ["module._target_=own_lightning.DigitsLitModule", "trainer.accumulate_grad_batches=3", *TEMPLATE]


def started(root: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the command; what it says goes to root / "log"."""
    script = root / "gradloop_train.py"  # Lightning starts the second process by the first one's command line
    script.write_text("from gradloop.commands.train import main\n\nif __name__ == '__main__':\n    main()\n")
    line = [sys.executable, str(script), *arguments]
    with open(root / "log", "w") as log:
        return subprocess.Popen(line, stdout=log, stderr=log, env=environment(), start_new_session=True)


@pytest.mark.slow
@pytest.mark.parametrize(("whole_group", "module"), [(False, []), (True, ["model.dropout=0.2"]), (True, OWN)])
def test_two_processes_stop_together(whole_group: bool, module: list[str], tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert started(tmp_path, *TWO, *module, f"hydra.run.dir={whole}").wait() == 0, (tmp_path / "log").read_text()
    process = started(tmp_path, *TWO, *module, f"hydra.run.dir={run}")
    until((run / "checkpoints" / "last.ckpt").exists, timeout=120)
    if whole_group:  # as a terminal's Ctrl-C
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert (tmp_path / "log").read_text().count("error: stopped by Ctrl-C; go on with") == 1
    assert read_record(run)["status"] == "interrupted"
    assert started(tmp_path, f"resume={run}", "allow=[own_lightning]").wait() == 0, (tmp_path / "log").read_text()
    assert not differences(left_by(whole), left_by(run))
