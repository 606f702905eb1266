from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the leaderboard's picture, which takes longer than the sweeps here; one file of tests looks at it."""
    if request.path.name in ("test_leaderboard.py", "test_real_sweep.py"):
        return
    monkeypatch.setattr(
        "gradloop.sweeps.leaderboard_picture.draw_sweep",
        lambda board: (board.sweep.folder / "leaderboard.png").write_bytes(b"png"),
    )
