"""A run's folder and record: nobody else's, whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

import gradloop
from gradloop.errors import CheckpointError
from gradloop.runs.folder import check_writable, claim_folder, is_alive, write_atomically
from gradloop.runs.planning import plan
from gradloop.runs.record import git_state, read_record, versions, write_record
from gradloop.runs.run import Run
from gradloop.training.fit import run
from processes import until


def test_every_claim_gets_a_folder_of_its_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim_folder(tmp_path / "train" / "run"), range(24)))
    assert len(set(folders)) == 24
    assert {folder.name for folder in folders} == {"run", *(f"run_{n}" for n in range(2, 25))}


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (check_writable, claim_folder):
        with pytest.raises(CheckpointError, match="file"):
            place(tmp_path / "file" / "run")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_atomically(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


HOLD = "import sys, time, filelock; held = filelock.FileLock(sys.argv[1]); held.acquire(); time.sleep(60)"


def test_a_run_is_alive_exactly_while_its_lock_is_held(tmp_path):
    assert not is_alive(tmp_path)
    with Run(tmp_path, {"name": "run", "seed": 0}, [], started=0.0) as run:
        assert is_alive(tmp_path)
    write_record(tmp_path, run.record | {"status": "running"})  # of a process that exists, and has let go
    assert not is_alive(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / ".lock"])
    until(lambda: is_alive(tmp_path))
    with pytest.raises(CheckpointError, match=f"process {os.getpid()} on .* is working on this run"), run:
        pass
    child.kill()
    child.wait()
    assert not is_alive(tmp_path)


def test_a_record_comes_back_and_has_no_word_for_nan(tmp_path):
    record = {
        "status": "completed",
        "metrics": {"a": 0.5, "b": float("nan")},
        "list": [float("inf"), 1],
        "path": tmp_path,
    }
    write_record(tmp_path, record)
    text = (tmp_path / "summary.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    again = read_record(tmp_path)
    assert again["metrics"] == {"a": 0.5, "b": None}
    assert again["list"] == [None, 1]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '"completed"', "\x00"])
def test_what_is_no_record(tmp_path, content):
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"no run here|can't be read|not the record"):
        read_record(tmp_path)


def test_git_state_outside_of_a_work_tree_is_empty(tmp_path):
    assert git_state(tmp_path) == {}
    assert versions()["torch"]


def committed(folder: Path) -> None:
    """Make a git repository of a folder, with one file, and change that."""

    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=folder, check=True)

    git("init", "-q")
    (folder / "models.py").write_text("width = 1\n")
    git("add", "models.py")
    git("commit", "-qm", "first")
    (folder / "models.py").write_text("width = 2\n")


SHORT = ["data=digits", "trainer.max_epochs=1", "logger=none"]


def test_a_run_with_code_from_the_current_folder_notes_its_commit_and_changes(tmp_path, monkeypatch):
    committed(tmp_path)
    monkeypatch.chdir(tmp_path)
    noted = gradloop.train([*SHORT, "allow=[models]"])["git"]
    assert Path(noted["folder"]) == tmp_path
    assert len(noted["commit"]) == 40
    assert "-width = 1\n+width = 2\n" in noted["diff"]


def test_git_is_not_asked_in_a_folder_whose_code_is_not_allowed(tmp_path, monkeypatch):
    committed(tmp_path)  # what a repository's config says is run by git
    subprocess.run(["git", "config", "core.fsmonitor", f"touch {tmp_path / 'ran'}; false"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    assert gradloop.train(SHORT)["git"].get("folder") != str(tmp_path)
    assert not (tmp_path / "ran").exists()
    git_state(tmp_path)
    assert (tmp_path / "ran").exists()


def test_what_a_run_leaves(train):
    run = train("trainer.max_epochs=2", "seed=0", "name=my-run", "optimizer.lr=0.01")
    folder = Path(run["folder"])
    assert folder.name.endswith("_my-run")
    record = json.loads((folder / "summary.json").read_text())
    assert record == json.loads(json.dumps(run, default=str))
    assert record["status"] == "completed"
    assert record["exit_code"] == 0
    assert record["seed"] == 0
    assert record["task"] == "multiclass"
    assert "optimizer.lr=0.01" in record["overrides"]
    assert record["best"]["checkpoint"] == "checkpoints/best.ckpt"
    assert {"setup", "fit", "test", "total"} <= record["durations"].keys()
    assert all(seconds >= 0 for seconds in record["durations"].values())
    assert {"python", "torch", "lightning", "gradloop"} <= record["versions"].keys()
    assert len(record["data"]["fingerprint"]) == 32
    assert record["data"]["samples"] == {"train": 640, "val": 160, "test": 200}
    assert record["model"]["parameters"] == 20 * 64 + 64 + 64 * 2 + 2
    config = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    assert config["optimizer"]["lr"] == 0.01
    assert config["data"]["seed"] == 0, "interpolations are resolved"
    assert "optimizer.lr=0.01" in yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text())
    assert {path.name for path in (folder / "checkpoints").iterdir()} >= {"best.ckpt", "last.ckpt"}
    assert not [path for path in folder.rglob("*") if "=" in path.name or path.suffix == ".tmp"]
    assert (folder / "train.log").stat().st_size > 0


def test_a_run_that_breaks_says_so_in_its_record(train, monkeypatch, tmp_path):
    from gradloop.training.supervised import Supervised

    def broken(*_):
        raise KeyError("lost")

    monkeypatch.setattr(Supervised, "validation_step", broken)
    with pytest.raises(KeyError):
        train("trainer.max_epochs=1", "seed=0")
    folder = next((tmp_path / "train").iterdir())
    record = read_record(folder)
    assert (record["status"], record["exit_code"]) == ("failed", 1)
    assert "lost" in record["reason"]
    assert "Traceback" in (folder / "train.log").read_text()


def test_a_run_is_a_function_of_its_config_and_folder(tmp_path):
    quick = ["data=linear_regression", "model=linear", "trainer.max_epochs=1", "seed=0", "logger=none"]
    config = plan([*quick, "callbacks.curves=null", f"output_dir={tmp_path}"], None, "train")
    first, second = (run(config, tmp_path / "here") for _ in range(2))
    assert [first["folder"], second["folder"]] == [str(tmp_path / "here"), str(tmp_path / "here_2")]
    assert first["metrics"] == second["metrics"]
    assert read_record(tmp_path / "here") == first
