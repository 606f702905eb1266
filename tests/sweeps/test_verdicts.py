"""What a leaderboard claims of settings, and what it calls their repetitions."""

from __future__ import annotations

from typing import Any

from gradloop.sweeps.results.files import as_markdown
from gradloop.sweeps.results.leaderboard import leaderboard
from sweeps_on_disk import make_sweep


def lr(value: float) -> dict[str, float]:
    return {"optimizer.lr": value}


def test_a_setting_is_not_called_worse_by_seeds_in_which_it_is_better(tmp_path):
    best = [(lr(0.1), seed, value, "completed") for seed, value in enumerate((0.80, 0.81, 0.82, 0.97))]
    other = [(lr(0.2), seed, value, "completed") for seed, value in enumerate((0.82, 0.83, 0.845))]
    board = leaderboard(make_sweep(tmp_path / "s", [*best, *other, (lr(0.2), 3, None, "failed")]))
    assert [row.setting["optimizer.lr"] for row in board.rows] == [0.1, 0.2]
    assert board.rows[1].comparison.difference > 0
    assert board.rows[1].comparison.decided
    assert board.rows[1].verdict == "undecided"


def test_seeds_of_one_fold_are_seeds_and_folds_are_called_folds(tmp_path):
    for fixed, word, test in ((True, "seeds", "paired t-test"), (False, "folds", "corrected resampled t-test")):
        points = [(lr(rate), n, 0.9 - rate + 0.01 * n, "completed") for rate in (0.1, 0.2) for n in range(3)]
        sweep = make_sweep(tmp_path / word, points)
        for job in sweep.jobs:
            number = job.values["seed"]
            if not fixed:
                job.values |= {"seed": 0, "data.fold": number}
            job.record |= {
                "seed": job.values["seed"],
                "data": {"folds": {"folds": 5, "fold": 0 if fixed else number}},
            }
        board = leaderboard(sweep)
        assert board.repetitions == word
        assert board.rows[1].comparison.test == test
        assert f"mean ± std over n {word}." in as_markdown(board)


def test_varied_keys_that_have_no_column_are_named(tmp_path):
    setting = {f"model.knob_{number}": number for number in range(8)}
    board = leaderboard(make_sweep(tmp_path / "s", [(setting, 0, 0.5, "completed"), (setting, 1, 0.6, "completed")]))
    assert "no room for knob_6, knob_7: leaderboard.csv has every varied key" in as_markdown(board)


def test_nothing_is_claimed_of_settings_that_are_measured_on_other_rows(tmp_path):
    """A cross-validated setting beside one that is not, and splits as settings."""

    def data(folds: int | None, fold: int | None) -> dict[str, Any]:
        return {"folds": {"folds": folds, "fold": fold}} if folds else {}

    points = [({"data.folds": None}, seed, 0.9 - 0.001 * seed, "completed") for seed in range(4)]
    points += [({"data.folds": 3}, seed, 0.5 - 0.001 * seed, "completed") for seed in range(12)]
    sweep = make_sweep(tmp_path / "folds", points)
    for number, job in enumerate(sweep.jobs):
        job.record["data"] = data(3 if number >= 4 else None, number % 3)
    board = leaderboard(sweep)
    assert [(row.verdict, row.comparison) for row in board.rows] == [("best", None), ("undecided", None)]
    assert not [line for line in board.legend if "seeds=3" in line]
    splits = [({"data.random_state": k}, seed, 0.5 + 0.1 * k, "completed") for k in range(2) for seed in range(4)]
    board = leaderboard(make_sweep(tmp_path / "splits", splits))
    assert [row.verdict for row in board.rows] == ["highest", ""]
    assert "different rows (data.random_state)" in board.warning
