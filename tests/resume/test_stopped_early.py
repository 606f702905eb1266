"""A run that had stopped early, and was killed before its end, ends there: it does not train on."""

from __future__ import annotations

import json
from pathlib import Path

from gradloop.commands.train import sweep
from gradloop.runs.record import read_record
from processes import Child
from small_runs import QUIET, assert_equal, train, weights

KILLS = """
import os, signal
import lightning.pytorch as pl

class KillOnce(pl.Callback):
    def on_test_start(self, trainer, module):
        if not os.path.exists(os.environ["KILLED"]):
            open(os.environ["KILLED"], "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
"""
STOPS = [
    "callbacks=early_stopping",
    "callbacks.early_stopping.patience=2",
    "optimizer.lr=0.05",
    "trainer.max_epochs=60",
]


def test_killed_in_its_test(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", *STOPS)
    (tmp_path / "kills.py").write_text(KILLS)
    folder, killed = tmp_path / "run", {"KILLED": str(tmp_path / "killed")}

    def command(*arguments: str) -> int:
        return Child([*arguments, "allow=[kills]"], tmp_path / "log", killed, path=tmp_path).wait()

    assert command(*QUIET, *STOPS, "+callbacks.kill._target_=kills.KillOnce", f"hydra.run.dir={folder}") == -9
    assert command(f"resume={folder}") == 0
    record = read_record(folder)
    assert (record["epochs"], record["found"]) == (whole["epochs"], whole["found"])
    assert record["metrics"] == whole["metrics"]
    assert_equal(weights({"folder": folder}), weights(whole))
    assert command(f"resume={folder}", "trainer.max_epochs=61") == 0
    assert read_record(folder)["epochs"] > whole["epochs"]


def test_killed_as_members_of_a_population(tmp_path: Path) -> None:
    asked = ["seed=range(3)", *STOPS, "callbacks.curves=null", f"hydra.sweep.dir={tmp_path}/sweep"]
    sweep(asked)
    records = sorted((tmp_path / "sweep").glob("*/summary.json"))
    before = [json.loads(path.read_text()) for path in records]
    assert {record["population"]["size"] for record in before} == {3}
    for path, record in zip(records, before, strict=True):  # as it stands before the test
        path.write_text(json.dumps(record | {"status": "running", "metrics": {}, "found": {}}))
    sweep([*asked, "sweep.resume=last"])
    after = [json.loads(path.read_text()) for path in records]
    for was, now in zip(before, after, strict=True):
        assert now["status"] == "completed"
        assert (now["epochs"], now["found"], now["metrics"]) == (was["epochs"], was["found"], was["metrics"])
