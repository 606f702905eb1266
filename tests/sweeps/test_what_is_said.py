"""What a sweep and a comparison say where a word is easily wrong."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path

import pytest

from gradloop.config.overrides import quoted
from sweeps_on_disk import make_sweep
from toy_sweep import PretendedRuns, run_toy


def test_an_empty_rank_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "")
    assert run_toy(tmp_path, "seed=0").code == 0


@pytest.mark.parametrize(("runs", "code"), [(2, 0), (3, 143)])
def test_a_signal_after_the_last_run_changes_nothing(
    runs: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = PretendedRuns.wait

    def stopping(engine: PretendedRuns, seconds: float) -> dict[int, str | None]:
        ended = wait(engine, seconds)
        if 1 in ended:
            signal.raise_signal(signal.SIGTERM)
        return ended

    monkeypatch.setattr(PretendedRuns, "wait", stopping)
    done = run_toy(tmp_path, f"seed=range({runs})")
    assert (done.code, done.sweep.finished, "to go on" in done.err) == (code, code == 0, code != 0)


def test_the_line_for_tensorboard_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "it's"
    done = run_toy(tmp_path, "seed=0", f"hydra.sweep.dir={quoted(str(folder))}")
    assert f"tensorboard --logdir {shlex.quote(str(folder))}\n" in done.out


def test_a_comparison_names_its_own_files_and_the_runs_folders(command, tmp_path: Path) -> None:
    keys = [f"data.k{number}" for number in range(8)]
    points = [(dict.fromkeys(keys, n), 0, None if n else 0.5, "failed" if n else "completed") for n in range(3)]
    make_sweep(tmp_path / "s", points)
    for number in range(3):
        (tmp_path / "s" / str(number)).rename(tmp_path / "s" / f"mine_{number}")
    os.chdir(tmp_path / "s" / "mine_0")
    ended = command(".", "../mine_1", "../mine_2", f"--out={tmp_path}/out", program="compare")
    assert ended.code == 0, ended.err
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "- mine_1, failed: " in text
    assert "| mine_0 |" in text
    assert "comparison.csv has every varied key" in text
    assert "leaderboard.csv" not in text
    refused = command("../mine_1", "../mine_2", "--metric=x", program="compare")
    assert refused.err == "error: --metric x: no run has it; there are none\n"
