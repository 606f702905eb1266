from __future__ import annotations

import pytest

from sweeps_on_disk import empty_picture


@pytest.fixture(autouse=True)
def _without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the leaderboard's picture, which takes longer than the sweeps here; two files of tests look at it."""
    if request.path.name not in ("test_leaderboard.py", "test_real_sweep.py"):
        monkeypatch.setattr("gradloop.sweeps.results.picture.draw_sweep", empty_picture)
