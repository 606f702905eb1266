from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gradloop.errors import CheckpointError, ConfigError
from gradloop.runs.folder import is_alive
from gradloop.runs.record import read_record, write_record
from gradloop.sweeps.results.page import repeating
from gradloop.sweeps.running import KILLED
from processes import until
from toy_sweep import METRIC, run_toy


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()))


def test_a_grid_ends_in_one_answer_and_says_how_far_it_is(tmp_path):
    done = run_toy(tmp_path, "optimizer.lr=1e-3,1e-2", "seed=range(3)")
    assert done.code == 0
    assert done.statuses == ["completed"] * 6
    assert [job.values["seed"] for job in done.sweep.jobs] == [0, 1, 2] * 2
    assert done.sweep.keys == ["optimizer.lr"]
    table = rows(done.sweep.folder)
    assert [row["optimizer.lr"] for row in table] == ["0.01", "0.001"]
    assert [row["verdict"] for row in table] == ["best", "worse"]
    assert table[0]["n"] == "3"
    assert float(table[0]["val/accuracy"]) == pytest.approx(0.93)
    assert float(table[0]["test/accuracy std"]) == pytest.approx(0.01)
    for name in ("leaderboard.md", "leaderboard.png", "sweep.json"):
        assert (done.sweep.folder / name).stat().st_size > 0
    plan = json.loads((done.sweep.folder / "sweep.json").read_text())
    assert plan["finished"] is True
    assert plan["command"].startswith("gradloop-train -m")
    assert "done 4/6, running 1, failed 0, best val/accuracy" in done.out
    assert "left" in done.out
    assert "0.930 ± 0.010" in done.out


def test_one_bad_run_never_stops_the_others(tmp_path):
    done = run_toy(tmp_path, "name=fail,kill,learn", "seed=1")
    assert done.code == 1
    reasons = ["RuntimeError: the third layer is missing", KILLED]
    assert [(job.status, job.reason) for job in done.sweep.jobs] == [
        *(("failed", reason) for reason in reasons),
        ("completed", None),
    ]
    again = [line for line in done.out.splitlines() if line.startswith("  again:")]
    common = [*METRIC, f"output_dir={tmp_path}"]
    assert [shlex.split(line)[1:] for line in again] == [
        ["gradloop-train", *common, "seed=1", f"name={name}"] for name in ("fail", "kill")
    ]
    markdown = (done.sweep.folder / "leaderboard.md").read_text()
    assert all(f"run {number} failed: {reason}" in done.out for number, reason in enumerate(reasons))
    assert all(reason in markdown for reason in reasons)


def test_repeated_points_run_once_unless_forced(tmp_path):
    once = run_toy(tmp_path, "optimizer.lr=0.1,1e-1,0.10", "seed=0")
    assert once.statuses == ["completed"]
    assert "1 run: 1 lr" in once.out
    assert "2 asked for more than once: each was run once" in once.out
    twice = run_toy(tmp_path, "optimizer.lr=0.1,1e-1", "seed=0", "sweep.rerun=true")
    assert twice.statuses == ["completed"] * 2
    assert rows(twice.sweep.folder)[0]["n"] == "1"  # one seed, however often


def test_all_runs_share_a_seed_that_was_not_given(tmp_path):
    done = run_toy(tmp_path, "optimizer.lr=0.1,0.01")
    seeds = {job.record["seed"] for job in done.sweep.jobs}
    assert seeds == {done.sweep.seed}
    assert "no claim is possible" in done.out


def test_seeds_run_every_setting_several_times(tmp_path):
    done = run_toy(tmp_path, "optimizer.lr=0.1,0.01", "seeds=2", "seed=5")
    assert [job.values["seed"] for job in done.sweep.jobs] == [5, 6] * 2
    listed = run_toy(tmp_path, "optimizer.lr=0.1", "sweep.seeds=[2,9]")
    assert [job.record["seed"] for job in listed.sweep.jobs] == [2, 9]


@pytest.mark.parametrize(("arguments", "words"), [
    (("seeds=2", "seed=1,2"), "varies seed itself"), (("seeds=0",), "seeds=0"),
    (("optimizer.lr=interval(0.1,1)",), "sweep=random"), (("sweep.method=magic",), "grid, random, optuna"),
    (("sweep=random", "sweep.n_trials=0"), "sweep.n_trials=0"), (("+trainer.num_nodes=2",), "trainer.num_nodes=2"),
    (("trainer.max_epoch=8,16",), "trainer.max_epoch"),
    (("sweep=optuna", "sweep.pruner=magic"), "sweep.pruner=magic"),
    (("sweep=optuna", "sweep.objectives=[a,b]"), "sweep.directions"),
    (("sweep=optuna", "sweep.storage=nosuch://x"), "sweep.storage=nosuch://x"),
])  # fmt: skip
def test_mistakes_are_one_line_before_anything_runs(tmp_path, arguments, words):
    with pytest.raises(ConfigError) as refused:
        run_toy(tmp_path, "name=learn,fail" if "seed" in words else "trainer.max_epochs=8", *arguments)
    assert words in str(refused.value)
    assert not list(tmp_path.glob("sweeps/*/0"))


def test_two_sweeps_of_the_same_second_have_two_folders(tmp_path):
    first, second = (
        run_toy(tmp_path, "trainer.max_epochs=8", "hydra.sweep.dir=${output_dir}/sweeps/same") for _ in range(2)
    )
    assert {first.sweep.folder.name, second.sweep.folder.name} == {"same", "same_2"}
    assert second.statuses == ["completed"]


def test_resume_runs_nothing_twice_and_adds_new_points(tmp_path):
    first = run_toy(tmp_path, "optimizer.lr=0.1,0.01", "name=learn,fail", "seed=0")
    assert first.statuses == ["completed", "failed"] * 2
    again = run_toy(tmp_path, "optimizer.lr=0.1,0.01,1.0", "name=learn,fail", "seed=0", "sweep.resume=last")
    assert again.sweep.folder == first.sweep.folder
    assert [len(again.starts(number)) for number in range(6)] == [1, 2, 1, 2, 1, 1]
    assert [job.values["optimizer.lr"] for job in again.sweep.jobs[4:]] == [1.0] * 2
    assert rows(first.sweep.folder)[0]["optimizer.lr"] == "0.01"


def test_the_last_sweep_is_the_one_that_was_worked_on_last(tmp_path):
    first, other = (run_toy(tmp_path, "name=fail", f"seed={seed}") for seed in (0, 1))
    run_toy(tmp_path, "name=fail", "seed=0", f"sweep.resume={first.sweep.folder}")
    again = run_toy(tmp_path, "name=fail", "seed=0", "sweep.resume=last")
    assert again.sweep.folder == first.sweep.folder
    assert (len(first.starts(0)), len(other.starts(0))) == (3, 1)


def test_resume_with_a_new_key_keeps_the_old_runs_in_the_table(tmp_path):
    run_toy(tmp_path, "optimizer.lr=0.1,0.01", "seed=0")
    again = run_toy(tmp_path, "optimizer.lr=0.1,0.01", "trainer.max_epochs=20,16", "seed=0", "sweep.resume=last")
    assert again.sweep.keys == ["optimizer.lr", "trainer.max_epochs"]
    assert sorted(row["trainer.max_epochs"] for row in rows(again.sweep.folder)) == ["16", "16", "20", "20"]
    assert len(again.sweep.jobs) == 4
    assert len(again.starts(0)) == 1
    once = run_toy(tmp_path, "optimizer.lr=0.1,0.01", "trainer.max_epochs=20,16", "seed=0", "sweep.resume=last")
    first, second = (line.split("lr=0.1,0.01")[1].split(" ")[1] for line in (*once.sweep.earlier, once.sweep.command))
    assert (first, second) == ("seed=0", "trainer.max_epochs=20,16")
    table = (once.sweep.folder / "leaderboard.md").read_text()
    assert f"`{once.sweep.earlier[0]}`, then `{once.sweep.command}`" in table
    assert repeating(once.sweep) == f"{once.sweep.earlier[0]}\n{once.sweep.command} sweep.resume=last"


def test_resume_of_what_is_no_sweep(tmp_path):
    for resume in ("last", str(tmp_path / "nowhere")):
        with pytest.raises(CheckpointError, match="no sweep"):
            run_toy(tmp_path, "trainer.max_epochs=8,9", f"sweep.resume={resume}")


def test_a_sweep_at_work_is_not_resumed(tmp_path):
    from filelock import FileLock

    done = run_toy(tmp_path, "trainer.max_epochs=8")
    with FileLock(done.sweep.folder / ".sweep.lock"), pytest.raises(CheckpointError, match="another process"):
        run_toy(tmp_path, "trainer.max_epochs=8,9", "sweep.resume=last")


def test_random_settings_are_the_seeds_and_extend(tmp_path):
    few = run_toy(tmp_path, "sweep=random", "sweep.n_trials=2", "trainer.max_epochs=interval(8,64)", "seed=0")
    more = run_toy(
        tmp_path,
        "sweep=random",
        "sweep.n_trials=3",
        "trainer.max_epochs=interval(8,64)",
        "seed=0",
        "sweep.resume=last",
    )
    assert [job.values for job in more.sweep.jobs[:2]] == [job.values for job in few.sweep.jobs]
    assert len(more.sweep.jobs) == 3
    assert all(isinstance(job.values["trainer.max_epochs"], int) for job in more.sweep.jobs)
    assert all(1e-4 <= job.values["optimizer.lr"] <= 1e-1 for job in more.sweep.jobs)


def test_values_that_need_quotes(tmp_path):
    done = run_toy(tmp_path, "model.hidden_dims=[8,8],[16]", "name='a-b',c", "seed=0")
    assert [job.values["model.hidden_dims"] for job in done.sweep.jobs] == [[8, 8], [8, 8], [16], [16]]
    assert done.statuses == ["completed"] * 4


def test_what_was_fixed_otherwise_before_is_a_varied_key(tmp_path):
    command = ("optimizer.lr=0.01,0.1", "seed=0,1")
    run_toy(tmp_path, *command, "trainer.max_epochs=8")
    again = run_toy(tmp_path, *command, "trainer.max_epochs=16", "sweep.resume=last")
    assert again.sweep.keys == ["optimizer.lr", "trainer.max_epochs"]
    assert [job.values["trainer.max_epochs"] for job in again.sweep.jobs] == [8] * 4 + [16] * 4
    assert [row["n"] for row in rows(again.sweep.folder)] == ["2"] * 4
    same = run_toy(tmp_path, *command, "trainer.max_epochs=16", "sweep.resume=last")
    assert len(same.sweep.jobs) == 8
    assert "4 not repeated" in same.out


def test_the_next_run_begins_the_moment_one_ends(tmp_path):
    done = run_toy(tmp_path, "seed=range(4)", width=2)
    assert done.log == ["start 0", "start 1", "end 0", "start 2", "end 1", "start 3", "end 2", "end 3"]


def test_a_run_that_outlives_its_sweep_is_waited_for(tmp_path, monkeypatch):
    first = run_toy(tmp_path, "seed=0,1")
    holding = "import sys, filelock; held = filelock.FileLock(sys.argv[1]); held.acquire(); sys.stdin.read()"
    lock = first.sweep.folder / "1" / ".lock"
    orphan = subprocess.Popen([sys.executable, "-c", holding, lock], stdin=subprocess.PIPE)
    until(lambda: is_alive(first.sweep.folder / "1"))
    record = read_record(first.sweep.folder / "1")
    write_record(first.sweep.folder / "1", record | {"status": "running", "pid": orphan.pid})
    waiting = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: orphan.communicate())  # ends it
    monkeypatch.setattr("gradloop.sweeps.running.time", waiting)
    again = run_toy(tmp_path, "seed=0,1", "sweep.resume=last")
    assert f"run 1 still runs in process {orphan.pid} on" in again.out
    assert again.log == ["start 1", "end 1"]
    assert again.statuses == ["completed"] * 2
