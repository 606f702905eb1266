"""The curves: a table, a picture, and TensorBoard's pages."""

from __future__ import annotations

import csv
import io
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import gradloop
from gradloop.callbacks.tensorboard_logger import TensorBoard
from gradloop.drawing.charts import curves_png, quantities
from gradloop.runs.history import history_csv

HISTORY = [
    {
        "epoch": 1,
        "step": 5,
        "val/loss": 1.0,
        "val/accuracy": 0.5,
        "train/loss": 1.2,
        "train/accuracy": 0.4,
        "lr": 0.1,
    },
    {"epoch": 2, "step": 10, "train/loss": 0.01, "train/accuracy": 0.9, "lr": 0.1},
]


def test_csv_has_a_row_an_epoch_and_gaps_where_nothing_was_measured():
    rows = list(csv.DictReader(io.StringIO(history_csv(HISTORY))))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert list(rows[0]) == ["epoch", "step", "val/loss", "val/accuracy", "train/loss", "train/accuracy", "lr"]
    assert rows[1]["val/loss"] == ""
    assert float(rows[1]["train/loss"]) == 0.01


@pytest.mark.parametrize("history", [HISTORY, HISTORY[:1], HISTORY * 20])
def test_picture_has_a_panel_a_quantity(history):
    picture = Image.open(io.BytesIO(curves_png(history, "run")))
    assert picture.format == "PNG"
    assert picture.width > 1.8 * picture.height  # loss and accuracy side by side
    assert len(picture.convert("RGB").getcolors(maxcolors=2**20)) > 20  # something is drawn


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Return two whole runs with TensorBoard, one of each kind of task."""
    root = tmp_path_factory.mktemp("runs")
    common = ["trainer.max_epochs=3", "seed=0", f"output_dir={root}", "callbacks.progress=null"]
    return [gradloop.train([f"data={data}", *common]) for data in ("synthetic_classification", "linear_regression")]


def events_of(run) -> EventAccumulator:
    events = EventAccumulator(str(Path(run["folder"]) / "tensorboard"))
    events.Reload()
    return events


def test_a_run_leaves_its_table_and_picture(logged):
    for run in logged:
        folder = Path(run["folder"])
        rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
        assert [row["epoch"] for row in rows] == ["1", "2", "3"]
        assert float(rows[-1]["train/loss"]) == pytest.approx(
            next(e.value for e in events_of(run).Scalars("loss/train") if e.step == int(rows[-1]["step"]))
        )
        with Image.open(folder / "curves.png") as picture:
            picture.verify()


def test_tensorboard_shows_curves_config_graph_and_what_was_learned(logged):
    for run, picture in zip(logged, ("confusion", "fit"), strict=True):
        events = events_of(run)
        tags = events.Tags()
        quantity = "accuracy" if picture == "confusion" else "mae"
        assert {"loss/train", "loss/val", f"metric/{quantity}/val", "optimizer/lr"} <= set(tags["scalars"])
        steps = [event.step for event in events.Scalars("loss/val")]
        assert len(steps) == 3
        assert steps == sorted(set(steps)), "no step twice"
        assert not {"hp_metric", "epoch"} & set(tags["scalars"])
        assert tags["graph"]
        assert any(picture in tag for tag in tags["images"])
        assert any(tag.startswith("config") for tag in tags["tensors"])
        layout = [tag for tag in tags["tensors"] if "custom_scalars" in tag]
        assert layout
        content = events.Tensors(layout[0])[0].tensor_proto.string_val[0]
        assert b"loss/train" in content
        assert b"loss/val" in content


def test_a_row_of_metrics_is_one_event(logged):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = sorted((Path(logged[0]["folder"]) / "tensorboard").glob("events.out.tfevents.*"))
    events = [event for file in files for event in EventFileLoader(str(file)).Load()]
    rows = [[value.tag for value in event.summary.value] for event in events]
    assert sum("loss/train" in tags for tags in rows) == 3
    assert all("metric/accuracy/train" in tags for tags in rows if "loss/train" in tags)


def test_events_hold_what_was_measured_in_one_file_that_no_thread_writes(tmp_path):
    threads, logger, row = threading.active_count(), TensorBoard(save_dir=str(tmp_path)), {"own": torch.tensor(1.0)}
    for step in (1, 2):
        logger.log_metrics(row, step)
        row["own"] += 1
        logger.experiment.add_text("notes", "by torch's own writer", step)
    logger.finalize("success")
    assert threading.active_count() == threads
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("parameter/own")] == [(1, 1.0), (2, 2.0)]
    assert len(events.Tensors("notes/text_summary")) == 2


def test_graph_of_a_compiled_network(tmp_path, monkeypatch):
    compile_it = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: compile_it(network, backend="eager"))
    short = ["trainer.max_epochs=1", f"output_dir={tmp_path}", "callbacks.progress=null"]
    run = gradloop.train(["compile=true", *short])
    assert events_of(run).Tags()["graph"]


def test_event_files_are_small(logged):
    for run in logged:
        (file,) = (Path(run["folder"]) / "tensorboard").iterdir()  # one a run
        assert file.stat().st_size < 400_000


def test_a_picture_that_fails_does_not_take_the_run_with_it(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ValueError("no ink")

    monkeypatch.setattr("gradloop.callbacks.curves.curves_png", broken)
    few = ["callbacks.progress=null", "logger=none", "seed=0", f"output_dir={tmp_path}"]
    run = gradloop.train(["trainer.max_epochs=1", *few])
    assert run["status"] == "completed"
    assert "no ink" in (Path(run["folder"]) / "train.log").read_text()


def test_plain_lines_where_there_is_no_terminal(command):
    ended = command("trainer.max_epochs=3", "seed=0", "callbacks.progress.every_seconds=0", "logger=none")
    lines = ended.err.splitlines()
    assert lines[0].startswith("epoch 1/3")
    assert lines[-1].startswith("epoch 3/3")
    assert "val/accuracy" in lines[-1]
    assert "test/accuracy" in ended.out
    assert "folder: " in ended.out
    assert "\x1b" not in ended.err + ended.out


def test_the_end_names_the_tensorboard_command(command):
    ended = command("trainer.max_epochs=1", "seed=0")
    folder = next(line for line in ended.out.splitlines() if line.startswith("folder: ")).removeprefix("folder: ")
    assert f"tensorboard --logdir '{folder}'" in ended.out
    assert Path(folder).is_dir()


def test_names_of_other_projects_have_curves_too():
    measured = ["epoch", "step", "val_loss", "train_loss", "train/acc", "lr", "trainable"]
    expected = {"train_loss": ("train", "loss"), "train/acc": ("train", "acc"), "val_loss": ("val", "loss")}
    assert quantities(measured) == expected
