from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gradloop.runs.labels import event_folder
from gradloop.sweeps.results.hparams import write_session
from gradloop.sweeps.sweep_folder import Sweep
from sweeps_on_disk import make_sweep
from tensorboard_http import TensorBoardClient

POINTS = [
    ({"optimizer.lr": 0.001, "optimizer": "adam", "model.bias": True}, 0, 0.5, "completed"),
    ({"optimizer.lr": 0.01, "optimizer": "sgd", "model.bias": False}, 0, 0.9, "completed"),
    ({"optimizer.lr": 0.1, "optimizer": "adam", "model.bias": True}, 0, 0.7, "pruned"),
    ({"optimizer.lr": 1.0, "optimizer": "sgd", "model.bias": False}, 0, None, "failed"),
    ({"optimizer.lr": 10.0, "optimizer": "sgd", "model.bias": False}, 0, None, "running"),
]


def make(folder: Path, points: list[Any], *, curves: bool = False) -> Sweep:
    sweep = make_sweep(folder, points)
    for job in sweep.jobs if curves else ():
        curve(event_folder(sweep.job_folder(job)), "loss/train", [3.0, 2.0, 1.0])
    for job in sweep.jobs:
        if job.status == "interrupted":
            job.status = "running"  # as long as its process lives
        write_session(sweep, job)
    return sweep


def test_the_folder_that_names_a_run_keeps_the_letters_of_any_language(tmp_path):
    sweep = make(tmp_path / "sweep", [({"data.features": [name]}, 0, 0.5, "completed") for name in ("키", "나이")])
    assert [event_folder(sweep.job_folder(job)).name for job in sweep.jobs] == [
        "features=[_키_]",
        "features=[_나이_]",
    ]


def curve(folder: Path, tag: str, values: list[float]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for step, value in enumerate(values):
        writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])))
    writer.close()


def metrics(group: dict[str, Any]) -> dict[str, float]:
    return {metric["name"]["tag"]: metric["value"] for metric in group.get("metricValues", [])}


@pytest.fixture
def board(tmp_path):
    return TensorBoardClient(make(tmp_path / "sweep", POINTS, curves=True).folder)


def test_columns_are_exactly_the_varied_keys_and_the_final_metrics(board):
    experiment = board.hparams("experiment")
    assert {info["name"] for info in experiment["hparamInfos"]} == {*POINTS[0][0], "seed"}
    tags = [info["name"]["tag"] for info in experiment["metricInfos"]]
    assert tags == ["best/val/accuracy", "loss/train", "test/accuracy"]  # monitored first, test last
    assert {info["name"]["group"] for info in experiment["metricInfos"]} == {""}


def test_numbers_have_an_interval_and_words_have_choices(board):
    infos = {info["name"]: info for info in board.hparams("experiment")["hparamInfos"]}
    assert infos["optimizer.lr"]["type"] == "DATA_TYPE_FLOAT64"
    assert infos["optimizer.lr"]["domainInterval"] == {"minValue": 0.001, "maxValue": 10.0}
    assert sorted(infos["optimizer"]["domainDiscrete"]) == ["adam", "sgd"]
    assert infos["model.bias"]["type"] == "DATA_TYPE_BOOL"


def test_every_run_is_a_session_and_those_without_an_end_are_blank(board):
    sessions = {group["hparams"]["optimizer.lr"]: group for group in board.sessions()}
    status = {lr: group["sessions"][0]["status"] for lr, group in sessions.items()}
    assert status == {
        0.001: "STATUS_SUCCESS",
        0.01: "STATUS_SUCCESS",
        0.1: "STATUS_SUCCESS",
        1.0: "STATUS_FAILURE",
        10.0: "STATUS_UNKNOWN",
    }
    curve = {"loss/train": 1.0}
    ended = {"best/val/accuracy": 0.9, "test/accuracy": 0.89, **curve}
    assert metrics(sessions[0.01]) == pytest.approx(ended)
    assert metrics(sessions[1.0]) == curve


def test_filters_and_sorting(board):
    between = {
        "hparam": "optimizer.lr",
        "filterInterval": {"minValue": 0.005, "maxValue": 1},
        "excludeMissingValues": True,
    }
    assert sorted(group["hparams"]["optimizer.lr"] for group in board.sessions(colParams=[between])) == [
        0.01,
        0.1,
        1.0,
    ]
    words = {"hparam": "optimizer", "filterDiscrete": ["adam"]}
    assert len(board.sessions(colParams=[words])) == 2
    upwards = {"minValue": 0.6, "maxValue": "Infinity"}
    good = {
        "metric": {"tag": "best/val/accuracy", "group": ""},
        "filterInterval": upwards,
        "excludeMissingValues": True,
        "order": "ORDER_DESC",
    }
    assert [metrics(g)["best/val/accuracy"] for g in board.sessions(colParams=[good])] == pytest.approx([0.9, 0.7])


def test_curves_of_all_runs_overlay(board):
    tags = board.get("plugin/scalars/tags")
    assert len(tags) == 5  # one entry a run
    assert set(tags) == set(board.get("runs"))
    assert "3/lr=1 optimizer=sgd bias=false" in tags  # the keys in the order of the sweep's command
    run = next(name for name in tags if name.startswith("3/"))
    points = board.get(f"plugin/scalars/scalars?run={quote(run)}&tag=loss/train")
    assert [value for _, _, value in points] == [3.0, 2.0, 1.0]


def test_two_sweeps_under_one_logdir_keep_their_columns(tmp_path):
    make(tmp_path / "first", POINTS[:2])
    make(
        tmp_path / "deep" / "second",
        [({"model.width": w, "loss": "mse"}, 0, 0.5, "completed") for w in (8, 16)],
    )
    board = TensorBoardClient(tmp_path)
    names = {info["name"] for info in board.hparams("experiment")["hparamInfos"]}
    assert names == {*POINTS[0][0], "model.width", "loss", "seed"}
    sessions = board.sessions()
    assert len(sessions) == 4
    assert sorted(g["hparams"]["model.width"] for g in sessions if "model.width" in g["hparams"]) == [8, 16]


def test_a_run_that_went_on_has_its_last_status(tmp_path):
    sweep = make(tmp_path / "s", [({"optimizer.lr": 0.1}, 0, None, "failed")])
    job = sweep.jobs[0]
    job.status, job.record = "completed", {**job.record, "metrics": {"val/accuracy": 0.75}}
    write_session(sweep, job)
    (group,) = TensorBoardClient(sweep.folder).sessions()
    assert group["sessions"][0]["status"] == "STATUS_SUCCESS"
    assert metrics(group) == {"best/val/accuracy": 0.75}


def test_a_key_with_mixed_values_is_text(tmp_path):
    make(tmp_path / "s", [({"clip": value}, 0, 0.5, "completed") for value in (None, 1.0, [1, 2])])
    board = TensorBoardClient(tmp_path / "s")
    assert {group["hparams"]["clip"] for group in board.sessions()} == {"null", "1.0", "[1, 2]"}
    (info,) = [info for info in board.hparams("experiment")["hparamInfos"] if info["name"] == "clip"]
    assert info["type"] == "DATA_TYPE_STRING"
