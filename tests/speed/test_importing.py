from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from gradloop.process import collector_at_rest

COMMAND = """
import gc, sys
from gradloop.commands.train import main
sys.argv = ["gradloop-train", "trainer.max_epochs=1", "hydra.run.dir=run"]
try:
    main()
except SystemExit:
    print("frozen and looked at:", gc.get_freeze_count(), len(gc.get_objects()))
"""


def fail() -> None:
    assert not gc.isenabled()
    raise ImportError


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_and_is_as_before_afterwards(enabled):
    (gc.enable if enabled else gc.disable)()
    frozen = gc.get_freeze_count()
    try:
        with pytest.raises(ImportError), collector_at_rest():
            fail()
        assert gc.isenabled() is enabled
        # nothing is frozen: a notebook's objects are still collected. What other tests have frozen may go meanwhile
        assert gc.get_freeze_count() <= frozen
    finally:
        gc.enable()


def test_what_a_command_imports_is_not_looked_through_again(tmp_path):
    done = subprocess.run([sys.executable, "-c", COMMAND], cwd=tmp_path, capture_output=True, text=True, check=True)
    frozen, looked_at = map(int, done.stdout.partition("frozen and looked at:")[2].split())
    assert frozen > 2 * looked_at > 0
