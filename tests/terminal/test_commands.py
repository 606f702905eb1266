"""One entry point, the last run and the last sweep by name, and the list of what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

import gradloop
from gradloop.commands.list import HEADER, as_table
from gradloop.commands.train import run_many
from one_line import assert_one_line
from sweeps_on_disk import make_sweep
from terminal import on_a_terminal

QUIET = [f"callbacks.{name}=null" for name in ("progress", "curves", "tensorboard", "pictures")]
FAST = ["data=digits", "trainer.max_epochs=1", "logger=none", *QUIET]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Two runs, a sweep of two, and a run of another name, in this order."""
    place = tmp_path_factory.mktemp("listed")
    before = Path.cwd()
    os.chdir(place)
    try:
        gradloop.train([*FAST, "seed=1", "name=first", "tags=[paper,small]", "notes='the first of all'"])
        run_many([*FAST, "name=rates", "optimizer.lr=0.001,0.01", "seed=1", "tags=[paper]"], None, "train")
        gradloop.train([*FAST, "seed=2", "name=second"])
    finally:
        os.chdir(before)
    return place / "outputs"


@pytest.fixture
def there(command, outputs, monkeypatch):
    monkeypatch.chdir(outputs.parent)
    return command


def test_list_says_how_many_runs_of_a_sweep_failed(command, tmp_path):
    make_sweep(tmp_path / "here" / "outputs" / "sweeps" / "bad", [({}, 0, None, "failed"), ({}, 1, 0.9, "completed")])
    make_sweep(tmp_path / "here" / "outputs" / "sweeps" / "good", [({}, 0, 0.8, "completed"), ({}, 1, 0.9, "pruned")])
    shown = command(program="list").out
    assert "2 of 2 done, 1 failed" in shown
    assert "val/accuracy 0.85 (n=2)" in shown  # a setting's mean
    assert "good" in command("status=completed", program="list").out
    assert "bad" not in command("status=completed", program="list").out
    assert "bad" in command("status=failed", program="list").out
    assert shown.split()[:5] == ["when", "name", "status", "metric", "folder"]


@pytest.mark.parametrize(("program", "name"), [("list", "train"), ("train", "evaluate"), ("evaluate", "train")])
def test_a_main_config_of_another_command_is_refused(program, name, command, tmp_path):
    ended = command(f"--config-name={name}", program=program)
    own = f"expected {program}, or a config of yours in --config-dir"
    assert (ended.code, ended.err) == (2, f"error: --config-name={name}: {own}\n")
    (tmp_path / "mine.yaml").write_text("run: null\n")
    ended = command("--config-name=mine", f"--config-dir={tmp_path}", program="list")
    assert ended.err == "error: --config-name=mine: has no 'tags', which gradloop list asks for\n"


def test_list_says_when_a_sweep_began_that_has_no_run_yet(command, tmp_path):
    sweep = make_sweep(tmp_path / "here" / "outputs" / "sweeps" / "new", [({}, 0, None, "not_run")])
    replace(sweep, started=datetime(2026, 3, 4, 5, 6).timestamp()).save()
    assert "2026-03-04 05:06  new   0 of 1 done" in command(program="list").out


def test_a_row_too_long_for_the_terminal_has_a_second_line_for_whole_cells():
    rows = [HEADER, ["2026-11-28 21:51", "a_name_of_some_length", "failed", "val/accuracy 0.9", "outputs/train/a"]]
    wide, narrow = as_table(rows, 200).splitlines(), as_table(rows, 50).splitlines()
    assert (len(wide), len(narrow)) == (2, 4)
    assert narrow[2:] == ["2026-11-28 21:51  a_name_of_some_length  failed", "  val/accuracy 0.9  outputs/train/a"]


def listed(ended):
    assert ended.code == 0, ended.err
    return [line.split()[2] for line in ended.out.splitlines()[1:]]


def test_list_shows_runs_and_sweeps_the_newest_first_and_by_tag(there):
    ended = there(program="list")
    assert ended.out.splitlines()[0].split() == ["when", "name", "metric", "folder"]  # all are well
    assert listed(ended) == ["second", "rates", "first"]
    assert ended.out.count("val/accuracy 0.") == 3
    assert "outputs/train/" in ended.out
    assert listed(there("tags=[paper]", program="list")) == ["rates", "first"]
    assert listed(there("tags=[paper,small]", program="list")) == ["first"]
    assert listed(there("name=second", program="list")) == ["second"]
    assert there("status=failed", program="list").out == "no such run or sweep in outputs\n"
    assert "… 2 more: most=3" in there("most=1", program="list").out
    assert_one_line(there("tag=[paper]", program="list"), 2, ["'tag'", "'tags'"])


def test_list_says_what_it_can_not_read(command):
    for place, content in (
        ("train/a/summary.json", "{"),
        ("train/b/summary.json", "[" * 200_000),
        ("sweeps/c/sweep.json", "["),
    ):
        file = Path("outputs", place)
        file.parent.mkdir(parents=True)
        file.write_text(content)
    ended = command(program="list")
    assert (ended.code, ended.out) == (0, "no such run or sweep in outputs\n")
    named = [line.rpartition(": ")[2] for line in ended.err.splitlines()]
    assert named == ["outputs/sweeps/c", "outputs/train/a", "outputs/train/b"]


def test_tags_and_notes_are_in_the_record_and_change_no_signature(outputs):
    from gradloop.runs.record import read_record

    records = {r["name"]: r for r in map(read_record, (outputs / "train").iterdir())}
    assert records["first"]["tags"] == ["paper", "small"]
    assert records["first"]["notes"] == "the first of all"
    assert (records["second"]["tags"], records["second"]["notes"]) == ([], None)


def test_last_and_the_best_of_a_sweep_are_found_by_name(there, outputs):
    ended = there("run=last", "bootstrap=0", program="evaluate")
    assert ended.code == 0, ended.err
    assert next((outputs / "train").glob("*_second/evaluation.json")).is_file()
    ended = there("sweep=last", "bootstrap=0", program="evaluate")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("the best run of outputs/sweeps/")
    assert ended.out.splitlines()[0].endswith("_rates/1")  # of lr=0.01
    assert_one_line(there(program="evaluate"), 2, ["'run' has no value", "run=last", "sweep="])
    assert_one_line(there("run=last", "sweep=last", program="evaluate"), 2, ["run=last and sweep=last"])
    assert_one_line(there("sweep=nowhere", program="evaluate"), 4, ["sweep=nowhere", "no such sweep folder"])
    assert_one_line(there("run=last", "output_dir=nowhere", program="explain"), 4, ["run=last: no run in nowhere"])


def test_compare_takes_last_too(there, tmp_path):
    ended = there("run=last", "sweep=last", "--out", str(tmp_path / "out"), program="compare")
    assert ended.code == 0, ended.err
    assert "3 runs: 3 completed." in ended.out


def test_one_entry_point_for_all_commands(tmp_path):
    def ran(*words):
        source = str(Path(gradloop.__file__).parents[1])
        environment = os.environ | {"PYTHONPATH": source}
        line = [sys.executable, "-m", "gradloop", *words]
        return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment)

    assert {"train", "evaluate", "explain", "compare", "list"} <= set(ran().stdout.split())
    assert ran("train", "--cfg", "job", "-p", "seed").stdout == "null\n"
    wrong = ran("train", "optimizer.lr=fast")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: optimizer.lr=fast: expected a number")
    assert ran("list").stdout == "no such run or sweep in outputs\n"
    assert "did you mean 'train'?" in ran("trian").stderr
    forgotten = ran("data=digits")
    assert (forgotten.returncode, forgotten.stderr.count("\n")) == (2, 1)
    assert "gradloop train" in forgotten.stderr
    assert ran("--version").stdout.startswith("gradloop ")


@pytest.mark.parametrize("columns", [80, 200])
def test_a_narrow_terminal_breaks_no_word_of_the_list(columns, outputs):
    code, shown = on_a_terminal(columns, program="list", cwd=outputs.parent)
    assert code == 0, shown
    lines = [line for line in shown.splitlines() if line.strip()]
    assert max(map(len, lines)) <= columns
    assert "…" not in shown
    folders = [line.split()[-1] for line in lines if "outputs/" in line]
    assert all((outputs.parent / folder).is_dir() for folder in folders)
    assert (len(folders), len(lines)) == ((3, 8) if columns == 80 else (3, 4))


def test_a_narrow_terminal_breaks_no_word_of_a_sweeps_table(outputs, tmp_path):
    (sweep,) = (outputs / "sweeps").iterdir()
    code, shown = on_a_terminal(80, str(sweep), "--out", str(tmp_path / "out"), program="compare", cwd=outputs.parent)
    assert code == 0, shown
    lines = [line for line in shown.splitlines() if "outputs/" not in line and str(tmp_path) not in line]
    assert max(map(len, lines)) <= 80
    assert "…" not in shown
    header = next(line for line in lines if "val/accuracy" in line and "#" in line)
    assert " lr " in header


def test_a_table_too_wide_for_the_terminal_leaves_columns_out_and_says_so(tmp_path):
    points = [({f"model.a_long_name_{k}": 1.5 * place for k in range(6)}, 0, 0.5, "completed") for place in (1, 2)]
    make_sweep(tmp_path / "wide", points)
    code, shown = on_a_terminal(80, "wide", "--out", "out", program="compare", cwd=tmp_path)
    assert code == 0, shown
    assert "…" not in shown.partition("best:")[0]
    (left_out,) = re.findall(r"no room here for ([^:]*): the\s+files have all", shown)
    names = [name.strip() for name in left_out.split(",")]
    header = next(line for line in shown.splitlines() if line.startswith("# ")).split()
    assert "a_long_name_5" in names
    assert not set(names) & set(header)
    assert "a_long_name_5" in shown  # in the table of what differs, at the least
