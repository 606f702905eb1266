"""Loggers, callbacks and profilers write inside the run's folder, whatever a config or a recorded one says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from strangers import QUIET, TOY, assert_refused, copied, edit_checkpoints, finished, gift  # noqa: F401 - a fixture

KEEP = "lightning.pytorch.callbacks.ModelCheckpoint"
CSV = "lightning.pytorch.loggers.CSVLogger"
BOARD = "lightning.pytorch.loggers.TensorBoardLogger"
LEAVING = {
    "filename": {"callbacks": {"x": {"_target_": KEEP, "filename": "../../x"}}},
    "a long way": {"callbacks": {"x": {"_target_": KEEP, "filename": "a/../../../x"}}},
    "an address": {"callbacks": {"x": {"_target_": KEEP, "dirpath": "memory://x"}}},
    "on an exception": {
        "callbacks": {
            "x": {
                "_target_": "lightning.pytorch.callbacks.OnExceptionCheckpoint",
                "dirpath": "kept",
                "filename": "../../../x",
            }
        }
    },
    "name": {"logger": {"x": {"_target_": CSV, "name": "../../x"}}},
    "absolute name": {"logger": {"x": {"_target_": CSV, "name": "/tmp/gradloop_x"}}},
    "version": {"logger": {"x": {"_target_": CSV, "name": "csv", "version": "../../x"}}},
    "tensorboard's name": {"logger": {"x": {"_target_": BOARD, "name": "../x"}}},
    "tensorboard's version": {"logger": {"x": {"_target_": BOARD, "version": "../../../x"}}},
    "sub_dir": {"logger": {"x": {"_target_": BOARD, "sub_dir": "../../../../x"}}},
    "home": {"logger": {"x": {"_target_": BOARD, "name": "$HOME/../../../../../../x"}}},
}


@pytest.mark.parametrize("attack", LEAVING)
def test_what_would_write_elsewhere_is_refused_before_anything_is_created(attack, command, tmp_path):
    key = next(iter(LEAVING[attack]))
    assert_refused(command(*gift(tmp_path, **LEAVING[attack]), *TOY), 2, f"{key}", "inside the run's own")
    assert list((tmp_path / "here").iterdir()) == []
    assert not Path("/tmp/gradloop_x").exists()


def test_a_relative_folder_starts_from_the_runs(command, tmp_path):
    groups = {
        "callbacks": {"x": {"_target_": KEEP, "dirpath": "kept", "filename": "{epoch}"}},
        "logger": {"x": {"_target_": CSV, "name": "csv", "version": "mine"}},
        "trainer": {
            "profiler": {"_target_": "lightning.pytorch.profilers.SimpleProfiler", "dirpath": "p", "filename": "p"}
        },
    }
    ended = command(*gift(tmp_path, **groups), *TOY, *QUIET)
    assert ended.code == 0, ended.err
    (run,) = (tmp_path / "here").glob("outputs/train/*")
    assert [path.name for path in (run / "kept").iterdir()] == ["epoch=0.ckpt"]
    assert (run / "csv" / "mine" / "metrics.csv").is_file()
    assert list((run / "p").iterdir())
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["outputs"]


RECORDED = {
    "dirpath": {"_target_": KEEP, "dirpath": "/tmp/gradloop_x"},
    "filename": {"_target_": KEEP, "filename": "../../x"},
}


@pytest.mark.parametrize("attack", RECORDED)
def test_a_recorded_callback_that_would_write_elsewhere_is_refused(attack, finished, command, tmp_path):  # noqa: F811
    folder = copied(finished, tmp_path / "run")

    def change(checkpoint):
        config = checkpoint["gradloop"]["recipe"]["config"]
        config["callbacks"]["x"] = RECORDED[attack]
        config["trainer"]["max_epochs"] = 3

    edit_checkpoints(folder, change)
    (folder / "summary.json").write_text('{"status": "interrupted", "overrides": []}')
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    assert_refused(command(f"resume={folder}"), 2, "inside the run's own")
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # Lightning's, of every run that is gone on with
def test_a_recorded_state_deletes_nothing_elsewhere(command, tmp_path):
    """Lightning removes the file that its callback's state names as the worst one kept."""
    precious = tmp_path / "precious.ckpt"
    precious.write_text("mine")
    keep = f"+callbacks.x={{_target_:{KEEP},monitor:val/loss,save_top_k:1,dirpath:kept}}"
    assert command(*TOY, *QUIET, keep).code == 0
    (run,) = (tmp_path / "here").glob("outputs/train/*")
    kept = run / "kept"
    place = f"{kept}/{os.path.relpath(precious, kept)}"

    def change(checkpoint):
        for name, state in checkpoint.get("callbacks", {}).items():  # best.ckpt has none
            if name.startswith("ModelCheckpoint"):
                state.update(best_k_models={place: torch.tensor(1e9)}, kth_best_model_path=place)
                state.update(kth_value=torch.tensor(1e9), best_model_path=place, last_model_path=place)

    edit_checkpoints(run, change)
    ended = command(f"resume={run}", "trainer.max_epochs=3")
    assert ended.code == 4
    assert "precious.ckpt: expected a place inside the run's folder" in ended.err
    assert precious.read_text() == "mine"
