"""An epoch of a long run takes no more memory and no more work at the end than at the beginning."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gradloop.runs.record import read_record

STEPS = 10  # an epoch
NOTEBOOK = """
import os, sys
from pathlib import Path
import lightning.pytorch as pl

class Notebook(pl.Callback):
    '''Notes the resident memory in bytes and how many functions were called until every epoch's end.'''
    def __init__(self, path):
        self.file, self.calls = open(path, "w"), 0
    def count(self, frame, event, argument):
        self.calls += event in ("call", "c_call")
    def on_train_start(self, *_):
        sys.setprofile(self.count)
    def on_train_epoch_end(self, *_):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(pages * os.sysconf("SC_PAGE_SIZE"), self.calls, file=self.file, flush=True)
    def on_train_end(self, *_):
        sys.setprofile(None)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.slow
@pytest.mark.parametrize("epochs", [300, 2_000])
def test_a_long_run_stays_flat(tmp_path, epochs):
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    notes = tmp_path / "notes"
    arguments = [
        "seed=0", f"output_dir={tmp_path}", f"trainer.max_epochs={epochs}", "data.batch_size=64",
        "callbacks.checkpoints.save_top_k=3", "callbacks.checkpoints.every_seconds=0.2", "allow=[notebook.Notebook]",
        "+callbacks.notebook._target_=notebook.Notebook", f"+callbacks.notebook.path={notes}",
    ]  # fmt: skip
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import gradloop; gradloop.train({arguments!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    lines = [line.split() for line in notes.read_text().splitlines()]
    assert len(lines) == epochs
    memory = [int(line[0]) for line in lines]
    warm = epochs // 4
    growth = max(memory[-warm:]) / max(memory[:warm]) - 1
    assert growth < 0.02, f"resident memory grew by {growth:.1%}"

    calls = [int(line[1]) for line in lines]
    made = [after - before for before, after in itertools.pairwise(calls)]
    more = statistics.median(made[-warm:]) / statistics.median(made[warm : 2 * warm])
    assert more < 1.02, f"an epoch at the end calls {more:.3f} times as many functions as one of the second quarter"

    (folder,) = (path.parent for path in tmp_path.glob("*/*/summary.json"))
    record = read_record(folder)
    assert record["status"] == "completed"
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names <= {"best.ckpt", "best_2.ckpt", "best_3.ckpt", "last.ckpt", "previous.ckpt"}
    assert len([name for name in names if name.startswith("best")]) == 3

    size = sum(path.stat().st_size for path in (folder / "tensorboard").iterdir())
    assert size < 200_000 + 500 * epochs, f"{size:,} bytes"
    scalars = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    scalars.Reload()
    assert len(scalars.Scalars("loss/train")) == epochs
    assert scalars.Scalars("loss/train")[-1].step == epochs * STEPS
