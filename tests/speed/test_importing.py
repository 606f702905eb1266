from __future__ import annotations

import gc

import pytest

from gradloop.process import collector_at_rest


def fail() -> None:
    assert not gc.isenabled()
    raise ImportError


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_and_is_as_before_afterwards(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ImportError), collector_at_rest():
            fail()
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
