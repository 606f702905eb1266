"""Runs of different data in one table: one warning, and none for seeds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

QUICK = ["trainer.max_epochs=1", "callbacks=none", "logger=none", "threads=1"]
WARNING = "warning: these runs are of different data ("


@pytest.mark.slow
@pytest.mark.parametrize(
    ("varied", "named"),
    [
        (["data=digits,synthetic_classification"], "data._target_"),
        (["data.samples=100,200", "seeds=2"], "data.samples"),
        (["data.class_separation=1,2"], "data.class_separation"),
        (["data.batch_size=16,32", "seeds=2"], None),
        (["data.random_state=1,2", "seeds=2"], "data.random_state"),
        (["data=digits", "data.random_state=1,2", "seeds=2"], None),
        (["data=digits", "augmentation=none,flip"], None),
        (["optimizer.lr=0.1,0.2"], None),
    ],
)
def test_a_sweep_warns_once_where_the_data_set_differs(varied, named, command):
    ended = command("-m", *varied, *QUICK)
    assert ended.code == 0, ended.err
    (board,) = Path("outputs/sweeps").glob("*/leaderboard.md")
    for text in (ended.out, board.read_text()):
        lines = [line for line in text.splitlines() if line.startswith(WARNING)]
        assert len(lines) == (named is not None)
        assert named is None or named in lines[0]
    rows = "warning: settings are measured on different rows (data.random_state)"
    assert (rows in ended.out) is ("data.random_state=1,2" in varied and named is None)


def test_folds_are_of_the_data_that_others_see_whole(command, capsys, tmp_path):
    from gradloop.commands.compare import main

    assert command("data=digits", "seed=0", "name=whole", *QUICK).code == 0
    assert command("data=digits", "seed=0", "name=folded", "folds=3", "data.fold=1", *QUICK).code == 0
    capsys.readouterr()
    assert main(["outputs/train", "--out", str(tmp_path / "out")]) == 0
    assert WARNING not in capsys.readouterr().out


def test_a_comparison_warns_as_well(command, capsys, tmp_path):
    from gradloop.commands.compare import main

    assert command("data.samples=100", "seed=0", "name=a", *QUICK).code == 0
    assert command("data.samples=100", "seed=1", "name=b", "data.batch_size=16", *QUICK).code == 0
    assert command("data.samples=200", "seed=0", "name=c", *QUICK).code == 0
    capsys.readouterr()
    assert main(["outputs/train/*_[ab]", "--out", str(tmp_path / "alike")]) == 0
    assert WARNING not in capsys.readouterr().out
    assert main(["outputs/train", "--out", str(tmp_path / "mixed")]) == 0
    assert capsys.readouterr().out.count(WARNING) == 1
    told = (tmp_path / "mixed" / "comparison.md").read_text()
    assert WARNING in told
    assert "| highest |" in told
    assert not re.search(r"\b(best|worse|undecided)\b", told)
