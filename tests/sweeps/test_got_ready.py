"""A brief run is built while another trains: nothing of that is seen, and nothing of it differs."""

from __future__ import annotations

import os
import signal

import torch

import gradloop
from gradloop.runs.record import read_record
from saved_weights import weights_of
from sweeps.test_engines import Command, path_with

TOY = ["sweep.population=off", "data=digits", "model.hidden_dims=[4]", "logger=none", "callbacks.curves=null"]
BRIEF = [*TOY, "trainer.max_epochs=2"]
BUILT = """
import os
import pathlib
import time
import lightning.pytorch as pl

HERE = pathlib.Path(__file__).parent

class Built(pl.Callback):
    def __init__(self, *, what):
        self.what = what
        print("built", what, flush=True)
        os.write(2, b"and said so\\n")
        (HERE / f"built {what}").touch()
        if what == 3:
            raise ValueError("three is one too many")
        if what == 5:
            raise SystemExit(3)

    def on_train_start(self, trainer, module):
        if self.what == 1:  # waits for what it does not see
            until = time.monotonic() + 60
            while not (HERE / "built 2").exists() and time.monotonic() < until:
                time.sleep(0.01)
            folders = [path.name for path in pathlib.Path(trainer.default_root_dir).parent.iterdir()]
            runs = sorted(name for name in folders if name.isdigit())
            print("2 is built:", (HERE / "built 2").exists(), "there are", runs)
"""


def test_runs_built_ahead_have_the_bits_of_their_lone_runs_and_say_what_they_say_alone(tmp_path, monkeypatch):
    (tmp_path / "built_ahead.py").write_text(BUILT)
    acts = ["allow=[built_ahead]", "+callbacks.act._target_=built_ahead.Built", "+callbacks.act.what=0,1,2,3,4,5"]
    command = Command(tmp_path / "out", *BRIEF, *acts, "seed=7", PYTHONPATH=path_with(tmp_path))
    code, out = command.ended()
    assert code == 1, out
    sweep = command.sweep
    assert [job.status for job in sweep.jobs] == ["completed"] * 3 + ["failed", "completed", "failed"]
    assert "ValueError: three is one too many (built_ahead.py" in sweep.jobs[3].reason
    assert sweep.jobs[5].reason == "sys.exit(3)"
    for job in sweep.jobs:
        said = (sweep.job_folder(job) / "output.log").read_text().splitlines()
        assert said[:2] == [f"built {job.number}", "and said so"]
        assert said.count("and said so") == 1
    assert "2 is built: True there are ['0', '1']" in (sweep.folder / "1" / "output.log").read_text()
    monkeypatch.syspath_prepend(tmp_path)
    lone = gradloop.train([*BRIEF[1:], *acts[:2], "+callbacks.act.what=4", "seed=7", f"output_dir={tmp_path}/lone"])
    swept = read_record(sweep.folder / "4")
    assert swept["metrics"] == lone["metrics"]
    one, other = weights_of(swept), weights_of(lone)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_stop_leaves_nothing_of_a_run_that_was_ready(tmp_path):
    command = Command(tmp_path, *TOY, "trainer.max_epochs=2,100000,1", "seed=1")
    command.until_trained(1)
    os.kill(command.process.pid, signal.SIGTERM)
    code, out = command.ended()
    assert code == 143, out
    assert [job.status for job in command.sweep.jobs] == ["completed", "interrupted", "not_run"]
    assert not (command.sweep.folder / "2").exists()
    command.until_nobody_is_left()
