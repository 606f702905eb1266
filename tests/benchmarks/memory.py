"""How much memory a run takes at most, against importing the libraries. `python tests/benchmarks/memory.py`"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from measuring import paired, pairs_asked, report

RUN = "import sys; sys.argv = ['gradloop-train', *{arguments!r}]; from gradloop.commands.train import main; main()"
LIBRARIES = "import lightning.pytorch, torchmetrics"
RUNS = {"synthetic_classification": [], "digits": ["data=digits"]}


def peak(code: str) -> float:
    """Return the MB that a fresh interpreter had resident at most."""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    assert status == 0, code
    return used.ru_maxrss / 1000  # KB on Linux


def main() -> None:
    pairs = pairs_asked(__doc__, 3)
    with tempfile.TemporaryDirectory() as folder:
        codes = {name: RUN.format(arguments=[*given, f"output_dir={folder}"]) for name, given in RUNS.items()}
        rows = [
            paired(name, lambda code=code: peak(code), lambda: peak(LIBRARIES), pairs=pairs)
            for name, code in codes.items()
        ]
    report("memory at most: the command / importing the libraries", rows, unit="MB")


if __name__ == "__main__":
    main()
