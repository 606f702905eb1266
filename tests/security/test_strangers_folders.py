"""A stranger's run folder: links, pipes, records and checkpoints of another shape, and what is shown of them."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
import torch

from strangers import (  # noqa: F401 - a fixture
    QUIET,
    TOY,
    assert_refused,
    copied,
    edit_checkpoints,
    edit_json,
    finished,
)

PLACES = ("train.log", "checkpoints", "tensorboard", "explain", "export", ".lock", "summary.json", ".hydra")
COMMANDS = {
    "resume": ("train", "resume={}", "trainer.max_epochs=2"),
    "evaluate": ("evaluate", "run={}", "export=torch_export"),
    "explain": ("explain", "run={}"),
}
PAINT = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe"


@pytest.fixture
def run(finished, tmp_path) -> Path:  # noqa: F811
    return copied(finished, tmp_path / "run")


def do(command, what, folder):
    program, *arguments = COMMANDS[what]
    return command(*(argument.format(folder) for argument in arguments), program=program)


@pytest.mark.parametrize("what", COMMANDS)
@pytest.mark.parametrize("name", PLACES)
def test_nothing_is_written_through_a_link_out_of_the_folder(name, what, run, command, tmp_path):
    target = tmp_path / "precious"
    link = run / name
    if link.exists():
        link.rename(target)
    elif "." in name:
        target.write_text("mine")
    else:
        target.mkdir()
    link.symlink_to(target)
    if target.is_dir():
        (target / "events.out.tfevents.1.mine").write_text("mine")
        (target / "x.1.tmp").write_text("mine")
    before = sorted((path, path.lstat().st_mtime_ns) for path in [target, *target.rglob("*"), *run.rglob("*")])
    assert_refused(do(command, what, run), 4, str(link), str(target))
    assert (
        sorted((path, path.lstat().st_mtime_ns) for path in [target, *target.rglob("*"), *run.rglob("*")]) == before
    )


def test_a_link_inside_the_folder_and_to_the_folder_is_fine(run, command, tmp_path):
    (run / "newest").symlink_to("checkpoints/last.ckpt")
    (tmp_path / "name").symlink_to(run)
    assert do(command, "resume", tmp_path / "name").code == 0


def test_a_lock_is_no_link_at_all(run, command):
    (run / ".lock").unlink(missing_ok=True)
    (run / ".lock").symlink_to("train.log")
    assert_refused(do(command, "resume", run), 4, ".lock", "train.log")


@pytest.mark.parametrize("name", ["train.log", "summary.json", ".lock"])
def test_a_pipe_or_a_folder_in_a_files_place_is_one_line(name, run, command):
    for make in (os.mkfifo, os.mkdir):
        path = run / name
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        make(path)
        assert_refused(do(command, "resume", run), 4, name)


def test_only_the_runs_own_temporaries_are_swept(run, command, tmp_path):
    theirs = [run / "notes.tmp", run / "plan.4999999.tmp", run / "checkpoints" / "x.ckpt.4999999.tmp",
              run / "sub" / "last.ckpt.4999999.tmp"]  # fmt: skip
    ours = [run / "summary.json.4999999.tmp", run / "checkpoints" / "last.ckpt.4999999.tmp"]
    (run / "sub").mkdir()
    for path in (*theirs, *ours):
        path.write_text("half")
    assert do(command, "resume", run).code == 0
    assert [path.exists() for path in (*theirs, *ours)] == [True] * 4 + [False] * 2


def recipe(change):
    return lambda checkpoint: change(checkpoint["gradloop"])


CHECKPOINTS = {
    "no recipe": recipe(lambda g: g.pop("recipe")),
    "a string": recipe(lambda g: g.update(recipe="evil")),
    "a config that is a string": recipe(lambda g: g["recipe"].update(config="evil")),
    "no facts": recipe(lambda g: g["recipe"].pop("facts")),
    "no model": recipe(lambda g: g["recipe"]["config"].pop("model")),
    "weights that are a list": lambda c: c.update(state_dict=[1]),
    "another architecture": lambda c: c.update(state_dict={"network.weight": torch.zeros(7, 3)}),
}


@pytest.mark.parametrize("what", ["resume", "evaluate"])
@pytest.mark.parametrize("damage", CHECKPOINTS)
def test_a_checkpoint_of_another_shape_is_one_line(damage, what, run, command):
    edit_checkpoints(run, CHECKPOINTS[damage])
    assert_refused(do(command, what, run), 4, str(run))


RESUMED = {
    "optimizer of another shape": lambda c: [s.update(exp_avg=torch.zeros(9)) for s in states(c)],
    "no optimizer": lambda c: c.update(optimizer_states=[{"state": {}, "param_groups": []}]),
    "optimizer that is a string": lambda c: c.update(optimizer_states="evil"),
    "position": lambda c: c["gradloop"].update(position={"epoch": "3"}),
    "no seed": lambda c: c["gradloop"]["recipe"]["config"].pop("seed"),
    "no epochs": lambda c: c["gradloop"]["recipe"]["config"]["trainer"].pop("max_epochs"),
    "epochs that are a word": lambda c: c["gradloop"]["recipe"]["config"]["trainer"].update(max_epochs="9"),
}


def states(checkpoint):
    return [state for one in checkpoint.get("optimizer_states", []) for state in one["state"].values()]


@pytest.mark.parametrize("damage", RESUMED)
def test_a_damaged_state_is_the_checkpoints_fault(damage, run, command):
    edit_checkpoints(run, RESUMED[damage])
    (run / "checkpoints" / "previous.ckpt").unlink(missing_ok=True)
    ended = do(command, "resume", run)
    assert ended.code == 4, ended.err
    assert ended.err.startswith("error: "), ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert str(run) in ended.err


def without(*names):
    return lambda record: [record.pop(name) for name in names]


RECORDS = {
    "no devices": without("devices"),
    "null devices": lambda record: record.update(devices=None),
    "1e9 threads": lambda record: record["devices"].update(threads=1e9),
    "a billion threads": lambda record: record["devices"].update(threads=10**9),
    "no thread": lambda record: record["devices"].update(threads=0),
    "a list": lambda record: record.update(metrics=[1]),
    "text for a number": lambda record: record["metrics"].update({"test/loss": "low"}),
    "a status": lambda record: record.update(status=PAINT),
    "overrides": lambda record: record.update(overrides=[3]),
    "a process": lambda record: record.update(pid=10**30),
}


@pytest.mark.parametrize("damage", RECORDS)
def test_a_record_of_another_shape_is_one_line(damage, run, command):
    edit_json(run / "summary.json", RECORDS[damage])
    ended = do(command, "evaluate", run)
    assert_refused(ended, 4, "summary.json")
    assert "\x1b" not in ended.err


def test_nulls_in_a_record(run, command):
    nulls = dict.fromkeys(("name", "metrics", "best", "durations", "overrides", "monitor", "seed"))
    edit_json(run / "summary.json", lambda record: record.update(nulls))
    for what in ("evaluate", "explain"):
        assert do(command, what, run).code == 0
    assert command(str(run), program="compare").code == 0


def test_recorded_overrides_that_cant_be_repeated(run, command):
    edit_json(run / "summary.json", lambda record: record["overrides"].append("no override"))
    assert_refused(do(command, "resume", run), 4, "summary.json: its overrides can't be repeated", "no override")


def test_a_table_of_curves_that_is_none(run, command):
    (run / "metrics.csv").write_text("epoch,weight,bias\n0,1,2\n1,=cmd(),\x00\n")
    ended = do(command, "explain", run)
    assert ended.code == 0, ended.err


def test_pipes_in_a_run_folder_do_not_stop_a_comparison(run, command, tmp_path):
    for path in (run / "metrics.csv", run / ".hydra" / "config.yaml"):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    assert command(str(run), f"--out={tmp_path / 'out'}", program="compare").code == 0


def test_nothing_shown_of_a_record_moves_the_cursor(run, command, tmp_path):
    def paint(record):
        record.update(status="failed", reason=PAINT, name=PAINT, metrics={f"test/{PAINT}": 1.0, "=cmd": 2.0})
        record["overrides"] += [f"name={PAINT}", "model._target_==cmd|' /C calc'!A0"]
        record["monitor"] = {"metric": f"={PAINT}", "mode": "max"}

    edit_json(run / "summary.json", paint)
    other = copied(run, tmp_path / "other")
    (run / ".hydra" / "config.yaml").write_text("model: {_target_: '=cmd()', x: \"\\e[2J\", n: -3}\n")
    (other / ".hydra" / "config.yaml").write_text("model: {_target_: '@cmd()', x: b, n: -4}\n")
    ended = command(str(run), str(other), f"--out={tmp_path / 'out'}", program="compare")
    assert ended.code == 0, ended.err
    written = [(tmp_path / "out" / f"comparison.{kind}").read_text() for kind in ("md", "csv")]
    for text in (ended.out, *written):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert "\\x1b[2J" in text
    header, *rows = csv.reader((tmp_path / "out" / "comparison.csv").read_text().splitlines())
    cells = [cell for row in (header, *rows) for cell in row]
    assert "'=cmd()" in cells
    assert "'@cmd()" in cells
    assert {"-3", "-4"} <= set(cells)
    assert not [cell for cell in cells if cell.startswith(("=", "@"))]


def test_predictions_hold_no_formula(run, command, tmp_path):
    table = tmp_path / "rows.csv"
    name = (json.loads((run / "summary.json").read_text())["data"]["input_names"] or ["x0"])[0]
    table.write_text(f"name,{name}\n=cmd(),1\n@x,2\n-5,3\nplain,-4\n")
    ended = command(f"run={run}", f"explain.inputs={table}", program="explain")
    assert ended.code == 0, ended.err
    rows = list(csv.DictReader((run / "explain" / "predictions.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["'=cmd()", "'@x", "-5", "plain"]
    float(rows[0]["predicted"])
