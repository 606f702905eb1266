from __future__ import annotations

import csv
import io
import json
import shlex
import sys

import pytest

from gradloop.errors import CheckpointError
from gradloop.sweeps.results.files import as_csv, as_markdown, write_leaderboard
from gradloop.sweeps.results.leaderboard import headline, leaderboard
from gradloop.sweeps.results.picture import draw_sweep, importance, repeated
from gradloop.sweeps.results.scales import log_spaced, scale_of
from gradloop.sweeps.results.table import print_leaderboard
from gradloop.sweeps.sweep_folder import override_values, read_sweep
from sweeps_on_disk import make_sweep


def lr(value: float) -> dict[str, float]:
    return {"optimizer.lr": value}


@pytest.fixture
def sweep(tmp_path):
    points = [(lr(0.001), seed, 0.50 + 0.01 * seed, "completed") for seed in range(3)]
    points += [(lr(0.01), seed, 0.90 + 0.01 * seed, "completed") for seed in range(3)]
    points += [(lr(0.1), seed, 0.90 + 0.011 * (seed % 2), "completed") for seed in range(3)]
    points += [(lr(1.0), 0, None, "failed"), (lr(1.0), 1, None, "not_run"), (lr(1.0), 2, None, "running")]
    return make_sweep(tmp_path / "lr_sweep", points)


def test_rows_are_settings_best_first_with_mean_std_and_n(sweep):
    board = leaderboard(sweep)
    assert board.keys == ["optimizer.lr"]
    assert [row.setting["optimizer.lr"] for row in board.rows] == [0.01, 0.1, 0.001, 1.0]
    best = board.rows[0].spreads["val/accuracy"]
    assert (best.mean, best.std, best.n) == (pytest.approx(0.91), pytest.approx(0.01), 3)
    assert board.rows[0].spreads["test/accuracy"].mean == pytest.approx(0.90)
    assert [row.verdict for row in board.rows] == ["best", "undecided", "worse", ""]


def test_lower_is_better_sorts_the_other_way(sweep):
    sweep.mode = "min"
    assert leaderboard(sweep).rows[0].setting["optimizer.lr"] == 0.001


def test_one_seed_makes_no_claim(tmp_path):
    sweep = make_sweep(tmp_path / "s", [(lr(0.1), 0, 0.9, "completed"), (lr(0.2), 0, 0.1, "completed")])
    board = leaderboard(sweep)
    assert [row.verdict for row in board.rows] == ["best", "undecided"]
    assert "no claim is possible" in as_markdown(board)


def test_far_apart_and_undecided_is_no_tie(tmp_path, capsys):
    values = {"wide": (0.961, 0.968, 0.954), "narrow": (0.69, 0.83, 0.838)}
    points = [({"model": m}, s, value, "completed") for m, row in values.items() for s, value in enumerate(row)]
    board = leaderboard(make_sweep(tmp_path / "s", points))
    print_leaderboard(board)
    for text in (as_markdown(board), capsys.readouterr().out):
        assert "-0.18 [-0.38, 0.03]" in text
        assert "3 of 3" in text
        assert "undecided (n=3)" in text
        assert "tie" not in text
    assert headline(board) == "best: model=wide   val/accuracy 0.9610 ± 0.0070 (n=3)"


def test_many_settings_are_many_comparisons(tmp_path):
    def verdict(others: int) -> str:
        points = [(lr(0.1), seed, 0.90 + 0.01 * seed, "completed") for seed in range(3)]
        points += [(lr(0.2), seed, (0.88, 0.892, 0.898)[seed], "completed") for seed in range(3)]
        points += [
            (lr(1.0 + k), s, 0.80 + 0.03 * ((s + k) % 3), "completed") for k in range(others) for s in range(3)
        ]
        board = leaderboard(make_sweep(tmp_path / str(others), points))
        return next(row.verdict for row in board.rows if row.setting == lr(0.2))

    assert (verdict(0), verdict(20)) == ("worse", "undecided")


def test_folds_are_repetitions(tmp_path):
    points = [({"model": m, "data.fold": fold}, 0, 0.9 - 0.02 * (m == "b") - 0.01 * fold, "completed")
              for m in "ab" for fold in range(5)]  # fmt: skip
    sweep = make_sweep(tmp_path / "s", points)
    for job in sweep.jobs:
        job.record["data"] = {"folds": {"folds": 5, "fold": job.values["data.fold"]}}
    board = leaderboard(sweep)
    assert board.keys == ["model"]
    assert [row.spreads["val/accuracy"].n for row in board.rows] == [5, 5]
    assert board.rows[1].comparison.test == "corrected resampled t-test"
    assert "Nadeau & Bengio" in as_markdown(board)


def test_no_line_through_drawn_settings_and_one_through_repeated_values(tmp_path):
    points = [({"optimizer.lr": x, "b": b}, 0, x + b, "completed") for x in (0.1, 0.2, 0.3) for b in (1, 2)]
    board = leaderboard(make_sweep(tmp_path / "s", points))
    assert repeated(board, board.rows, "optimizer.lr") == pytest.approx({0.1: 1.6, 0.2: 1.7, 0.3: 1.8})
    board.sweep.method = "random"
    assert repeated(board, board.rows, "optimizer.lr") == {}
    board = leaderboard(make_sweep(tmp_path / "once", [(lr(x), 0, x, "completed") for x in (0.1, 0.2, 0.3)]))
    assert repeated(board, board.rows, "optimizer.lr") == {}


@pytest.mark.parametrize("library", ["optuna", "scikit-learn"])
def test_the_key_that_matters_is_the_most_important(tmp_path, library, monkeypatch):
    points = [({"optimizer.lr": x, "model": m, "b": b}, 0, 10 * x + 0.01 * b + 0.1 * (m == "wide"), "completed")
              for x in (0.01, 0.02, 0.03) for m in ("wide", "narrow") for b in (1, 2)]  # fmt: skip
    if library != "optuna":
        monkeypatch.setitem(sys.modules, "optuna", None)
    shares = importance(leaderboard(make_sweep(tmp_path / "s", points)))
    assert list(shares) == ["optimizer.lr", "model", "b"]
    assert sum(shares.values()) == pytest.approx(1)


def test_keys_that_do_not_vary_are_no_columns(tmp_path):
    points = [({"model": "linear", "optimizer.lr": x}, 0, x, "completed") for x in (0.1, 0.2)]
    assert leaderboard(make_sweep(tmp_path / "s", points)).keys == ["optimizer.lr"]


def test_pruned_runs_come_after_completed_ones(tmp_path):
    points = [(lr(0.1), 0, 0.99, "pruned"), (lr(0.2), 0, 0.5, "completed")]
    board = leaderboard(make_sweep(tmp_path / "s", points))
    assert [row.status for row in board.rows] == ["completed", "pruned"]
    assert board.best.setting == lr(0.2)


def test_a_running_record_without_a_process_is_interrupted(sweep):
    assert sweep.jobs[-1].status == "interrupted"
    assert sweep.jobs[-2].status == "not_run"


def test_csv_keeps_full_precision_and_blanks(sweep):
    rows = list(csv.DictReader(io.StringIO(as_csv(leaderboard(sweep)))))
    assert [row["optimizer.lr"] for row in rows] == ["0.01", "0.1", "0.001", "1.0"]
    assert float(rows[0]["val/accuracy std"]) == pytest.approx(0.01)
    assert rows[0]["runs"] == "3 4 5"
    assert rows[3]["val/accuracy"] == ""
    assert rows[1]["tested by"] == "paired t-test"
    assert (rows[2]["worse in"], rows[2]["of"]) == ("3", "3")
    assert float(rows[2]["difference"]) == pytest.approx(-0.4)


def test_failed_runs_are_listed_with_reason_and_command(sweep, capsys):
    print_leaderboard(leaderboard(sweep))
    for text in (as_markdown(leaderboard(sweep)), capsys.readouterr().out):
        assert "loss is NaN at step 7" in text
        assert "gradloop-train optimizer.lr=1.0 seed=0" in text
        assert "1 failed" in text


def test_commands_leave_out_the_bookkeeping_and_quote(sweep):
    job = sweep.jobs[0]
    job.overrides = ["sweep=optuna", "++sweep.trial.id=3", "threads=1", "name=a b", "optimizer.lr=0.1"]
    assert shlex.split(sweep.command_of(job)) == ["gradloop-train", "name=a b", "optimizer.lr=0.1"]
    sweep.options = ["--config-dir=my configs"]
    assert "'--config-dir=my configs'" in sweep.command_of(job)


def test_files_of_a_sweep(sweep):
    draw_sweep(write_leaderboard(sweep))
    files = {file.name for file in sweep.folder.iterdir() if file.is_file()}
    assert files == {
        "sweep.json",
        "leaderboard.csv",
        "leaderboard.md",
        "leaderboard.png",
        "search.png",
        "curves.png",
        "report.html",
        "README.md",
    }
    assert (sweep.folder / "leaderboard.png").stat().st_size > 10_000
    plan = json.loads((sweep.folder / "sweep.json").read_text())
    assert plan["keys"] == ["optimizer.lr"]
    assert plan["settings"] == [lr(0.001), lr(0.01), lr(0.1), lr(1.0)]
    assert [job["status"] for job in plan["jobs"]][-3:] == ["failed", "not_run", "interrupted"]


@pytest.mark.parametrize("points", [
    [],
    [(lr(0.1), 0, None, "failed")],
    [({}, seed, 0.5 + seed / 10, "completed") for seed in range(3)],
    [({"a": x, "optimizer": o}, 0, 0.5, "completed") for x in (None, 1, [1, 2]) for o in ("adam", "sgd")],
])  # fmt: skip
def test_pictures_and_tables_of_odd_sweeps(tmp_path, points, capsys):
    board = write_leaderboard(make_sweep(tmp_path / "s", points))
    draw_sweep(board)
    print_leaderboard(board)
    assert (tmp_path / "s" / "leaderboard.png").exists()


def test_a_sweep_is_read_back(sweep):
    again = read_sweep(sweep.folder)
    assert [job.status for job in again.jobs] == [job.status for job in sweep.jobs]
    assert as_csv(leaderboard(again)) == as_csv(leaderboard(sweep))


def test_a_folder_of_runs_without_a_plan_is_a_sweep_too(sweep):
    (sweep.folder / "sweep.json").unlink()
    board = leaderboard(read_sweep(sweep.folder))
    assert board.keys == ["optimizer.lr"]
    assert board.rows[0].spreads["val/accuracy"].n == 3


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is no sweep"):
        read_sweep(tmp_path)


@pytest.mark.parametrize(("values", "expected"), [
    ([1e-3, 1e-2, 1e-1], True), ([16, 32, 64, 128], True), ([1, 2, 3, 4], False), ([0.0, 0.1, 1.0], False),
    ([0.1, 0.2], False), ([0.001, 0.1], True), ([0.1, 0.3, 1, 3, 10], True), ([0.5], False),
])  # fmt: skip
def test_log_axes_where_values_step_by_factors(values, expected):
    assert log_spaced(values) is expected


def test_zero_stands_beside_values_that_step_by_factors():
    scale = scale_of([0.01, 0, 0.0001, 0.0])
    assert scale.ticks == {0.0: "0", 1.0: "0.0001", 2.0: "0.01"}
    assert [scale(value) for value in (0, 0.0, 0.0001, 0.01)] == [0, 0, 1, 2]
    assert scale_of([0, 0.5, 1]).places is None


@pytest.mark.parametrize(("text", "value"), [
    ("1e-3", 0.001), ("3", 3), ("true", True), ("null", None), ("adam", "adam"), ("[16,32]", [16, 32]),
    ("'quoted'", "quoted"), ("${x}", "${x}"), ("01000", "01000"), ("yes", "yes"), ("{a:1}", {"a": 1}),
])  # fmt: skip
def test_values_read_as_in_a_config(text, value):
    assert override_values([f"key={text}", "a: b", "~logger"]) == {"key": value}
