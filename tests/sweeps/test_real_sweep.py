from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import optuna
import pytest

from gradloop.process import cores_here
from gradloop.runs.record import read_record
from gradloop.sweeps.sweep_folder import Sweep, read_sweep
from tensorboard_http import TensorBoardClient

SOURCE = Path(__file__).parents[2] / "src"
TOY = ("data=linear_regression", "model=linear", "trainer.max_epochs=3", "callbacks.curves=null")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gradloop.train", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


def train(folder: Path, *arguments: str) -> tuple[int, str]:
    process = start(folder, *arguments)
    out, _ = process.communicate(timeout=300)
    return process.returncode, out


def sweep_in(folder: Path) -> Sweep:
    (found,) = (folder / "outputs" / "sweeps").iterdir()
    return read_sweep(found)


def test_a_sweep_of_real_runs_from_command_to_dashboard(tmp_path, command):
    ended = command("-m", *TOY[:-1], "optimizer.lr=1e-2,1e-1", "seed=range(2)")
    assert ended.code == 0, ended.err
    sweep = sweep_in(tmp_path / "here")
    assert [job.status for job in sweep.jobs] == ["completed"] * 4
    rows = list(csv.DictReader((sweep.folder / "leaderboard.csv").read_text().splitlines()))
    assert [row["optimizer.lr"] for row in rows] == ["0.1", "0.01"]
    assert float(rows[0]["val/loss"]) < float(rows[1]["val/loss"])
    assert rows[0]["n"] == "2"
    assert "best run" in (sweep.folder / "README.md").read_text().lower()
    assert (sweep.folder / "report.html").is_file()
    assert not (sweep.folder / "0" / "report.html").exists()  # a member pays for none

    board = TensorBoardClient(sweep.folder)
    experiment = board.hparams("experiment")
    assert {info["name"] for info in experiment["hparamInfos"]} == {"optimizer.lr", "seed"}
    names = [info["name"]["tag"] for info in experiment["metricInfos"]]
    assert (names[0], names[1], names[-1].split("/")[0]) == ("best/val/loss", "loss/train", "test")
    assert "epoch" not in names
    best = {"metric": {"tag": "best/val/loss", "group": ""}, "order": "ORDER_ASC"}
    first = board.sessions(colParams=[best])[0]
    assert first["hparams"]["optimizer.lr"] == 0.1
    tags = board.get("plugin/scalars/tags")
    means = {"mean/1 lr=0.1", "mean/2 lr=0.01"}  # over the seeds, with a band on Custom Scalars
    low, mean, high = (
        board.get(f"plugin/scalars/scalars?run={quote('mean/1 lr=0.1')}&tag={name}")[-1][2]
        for name in ("spread/loss/val/low", "loss/val", "spread/loss/val/high")
    )
    assert low < mean < high
    runs = {f"{k}/lr={lr} seed={seed}" for k, (lr, seed) in enumerate([(0.01, 0), (0.01, 1), (0.1, 0), (0.1, 1)])}
    assert set(tags) == set(board.get("runs")) == runs | means  # one entry a run, by the name of its setting
    assert all({"loss/train", "loss/val"} <= found.keys() for found in tags.values())
    layout = board.get("plugin/custom_scalars/layout")
    category = next(one for one in layout["category"] if one["title"] == "training and validation")
    assert any("band" in one["title"] for one in layout["category"])
    charts = {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]}
    assert next(iter(charts.items())) == ("loss", ["loss/train", "loss/val"])


@pytest.mark.slow
def test_each_run_of_a_sweep_has_a_second_process_of_its_own(tmp_path):
    given = *TOY, "logger=none", "accelerator=ddp_cpu", "seed=1"
    code, out = train(tmp_path, "-m", *given, "optimizer.lr=0.1,0.2")
    assert code == 0, out
    code, out = train(tmp_path, *given, "optimizer.lr=0.2")
    assert code == 0, out
    (folder,) = tmp_path.glob("outputs/train/*")
    sweep = sweep_in(tmp_path)
    assert [job.status for job in sweep.jobs] == ["completed"] * 2
    assert [job.record["devices"]["processes"] for job in sweep.jobs] == [2, 2]
    assert sweep.jobs[1].record["metrics"] == read_record(folder)["metrics"]
    assert len(list(tmp_path.glob("outputs/*/*"))) == 2  # no second sweep, no second run


@pytest.mark.slow
def test_a_killed_sweep_ends_as_if_it_had_not_been(tmp_path):
    settings = (
        "-m",
        "model.dropout=0.1,0.2",
        "seed=3",
        "trainer.max_epochs=300",
        "callbacks.checkpoints.every_seconds=0.2",
    )
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert train(whole, *settings)[0] == 0
    process = start(cut, *settings)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not list(cut.glob("outputs/sweeps/*/1/checkpoints/last.ckpt")):
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert [job.status for job in sweep_in(cut).jobs] == ["completed", "interrupted"]
    code, out = train(cut, *settings, "sweep.resume=last")
    assert code == 0, out
    assert "1 not repeated" in out
    for number in ("0", "1"):
        folders = (sweep_in(whole).folder / number, sweep_in(cut).folder / number)
        one, other = (read_record(folder) for folder in folders)
        assert one["metrics"] == other["metrics"]
        assert folders[0].joinpath("metrics.csv").read_text() == folders[1].joinpath("metrics.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [
        ("sweep.startup_trials=2",),
        ("sweep.pruner=asha", "hydra.launcher.n_jobs=2"),
        ("sweep.pruner=hyperband", "seeds=2"),
        # all cores for one: which trials are pruned hangs on what has ended before
        (
            "hydra/launcher=slurm",
            "hydra.launcher.cluster=local",
            f"hydra.launcher.cpus_per_task={cores_here()}",
            "sweep.startup_trials=2",
        ),
    ],
)
def test_bad_runs_are_pruned(tmp_path, engine):
    space = "optimizer.lr=tag(log,interval(1e-5,1e-1))", "sweep.n_trials=8", "logger=none", *engine
    code, out = train(tmp_path, "-m", "sweep=optuna_pruned", *TOY[:2], *space, "seed=0", "trainer.max_epochs=10")
    assert code == 0, out
    sweep = sweep_in(tmp_path)
    assert {job.status for job in sweep.jobs} == {"completed", "pruned"}
    study = optuna.load_study(study_name=sweep.study, storage=sweep.storage)
    firsts = {job.trial: job for job in reversed(sweep.jobs)}
    for trial in study.trials:
        job = firsts[trial.number]
        assert not list(sweep.job_folder(job).glob(".[ar][en]*"))  # reports and answers
        assert trial.state.name == {"completed": "COMPLETE", "pruned": "PRUNED"}[job.status]
        epochs = len((sweep.job_folder(job) / "metrics.csv").read_text().splitlines()) - 1
        assert len(trial.intermediate_values) == epochs
        assert (epochs == 10) is (job.status == "completed")
