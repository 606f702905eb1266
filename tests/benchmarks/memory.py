"""How much memory a run takes at most, against importing the libraries. `python tests/benchmarks/memory.py`"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from measuring import paired, pairs_asked, report

COMMAND = ["-m", "gradloop", "train"]
LIBRARIES = ["-c", "import lightning.pytorch, torchmetrics"]
RUNS = {"synthetic_classification": [], "digits": ["data=digits"]}


def peak(arguments: list[str]) -> float:
    """Return the MB that a fresh interpreter had resident at most."""
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    assert status == 0, arguments
    return used.ru_maxrss / 1000  # KB on Linux


def main() -> None:
    pairs = pairs_asked(__doc__, 3)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            paired(
                name,
                lambda more=more: peak([*COMMAND, *more, f"output_dir={folder}"]),
                lambda: peak(LIBRARIES),
                pairs=pairs,
            )
            for name, more in RUNS.items()
        ]
    report("memory at most: the command / importing the libraries", rows, unit="MB")


if __name__ == "__main__":
    main()
