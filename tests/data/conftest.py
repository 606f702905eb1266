"""What tests of picture folders share."""

from __future__ import annotations

import pytest

from folders_for_tests import draw


@pytest.fixture
def root(tmp_path):
    """Two classes of ten pictures each."""
    for index in range(10):
        draw(tmp_path / "pictures" / "red" / f"{index}.png", (200 + index, 0, 0))
        draw(tmp_path / "pictures" / "blue" / f"{index}.png", (0, 0, 200 + index))
    return tmp_path / "pictures"
