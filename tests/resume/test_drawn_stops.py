"""A run that is stopped anywhere, anyhow, and resumed equals one that was never stopped, bit for bit."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from resume.drawn_stops import check


@pytest.mark.slow
@pytest.mark.drawn
@pytest.mark.filterwarnings("ignore:You passed in a .val_dataloader")  # with a module that does not validate
@pytest.mark.filterwarnings("ignore:.*is already saved during checkpointing.*")
@pytest.mark.parametrize("half", [0, 1])
def test_a_run_stopped_anywhere_and_resumed_equals_one_never_stopped(
    half: int, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    number = pytestconfig.getoption("draw")
    if number is not None:
        check(number, tmp_path)
        return
    until = time.monotonic() + 60 * (pytestconfig.getoption("minutes") or 5)
    number, cases, stops = 2 * int(time.time()) + half, 0, 0
    while cases == 0 or time.monotonic() < until:
        stops += check(number, tmp_path)
        number, cases = number + 2, cases + 1
    print(f"{stops} stops in {cases} runs: each ended like the run that was never stopped", file=sys.stderr)
