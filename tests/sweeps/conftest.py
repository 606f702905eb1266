from __future__ import annotations

from typing import Any

import pytest


def empty_picture(board: Any) -> None:  # a function of a module: it is sent to the process that draws
    (board.sweep.folder / "leaderboard.png").write_bytes(b"png")


@pytest.fixture(autouse=True)
def _without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the leaderboard's picture, which takes longer than the sweeps here; two files of tests look at it."""
    if request.path.name not in ("test_leaderboard.py", "test_real_sweep.py"):
        monkeypatch.setattr("gradloop.sweeps.leaderboard_picture.draw_sweep", empty_picture)
