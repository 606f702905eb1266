"""What tests of trackers share: a small run, nobody logged in, a run's own history."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

TOY = ("data=linear_regression", "model=linear", "seed=0", "callbacks.progress=null", "callbacks.curves=null")


def has(*modules: str) -> pytest.MarkDecorator:
    lacking = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"not installed: {', '.join(lacking)}")


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch, tmp_path):
    """Nobody is logged in anywhere."""
    for name in [n for n in os.environ if n.startswith(("WANDB_", "MLFLOW_", "COMET_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def history(folder: Path, name: str) -> list[tuple[int, float]]:
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    step, column = lines[0].index("step"), lines[0].index(name)
    return [(int(float(line[step])), pytest.approx(float(line[column]))) for line in lines[1:]]
