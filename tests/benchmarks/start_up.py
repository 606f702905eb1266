"""How soon a command says something, against importing the libraries. `python tests/benchmarks/start_up.py`"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from measuring import Ratio, paired, pairs_asked, report

RUN = "import sys; sys.argv = ['gradloop-train', *{arguments!r}]; from gradloop.commands.train import main; main()"
LIGHTNING = "import lightning"
LIBRARIES = "import lightning.pytorch, torchvision, torchmetrics"
# leaves at the first training step; the module is patched when it is imported, not before: importing it early
# would change what is measured
LEAVE_AT_FIRST_STEP = """
import builtins, os
_import = builtins.__import__
def hooked(name, *rest):
    module = _import(name, *rest)
    if name == "gradloop.training.supervised" and hasattr(module, "Supervised"):
        module.Supervised.training_step = lambda *a: os._exit(0)
        builtins.__import__ = _import
    return module
builtins.__import__ = hooked
"""


def seconds(code: str) -> float:
    """Time a fresh interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    pairs = pairs_asked(__doc__, 5)
    os.environ.pop("HYDRA_FULL_ERROR", None)
    rows: list[Ratio] = []
    for name, arguments in (("help", ["--help"]), ("cfg_job", ["--cfg", "job"]), ("typo", ["optimizer.lrr=1"])):
        code = RUN.format(arguments=arguments)
        rows.append(paired(name, lambda code=code: seconds(code), lambda: seconds(LIGHTNING), pairs=pairs))
    with tempfile.TemporaryDirectory() as folder:
        code = f"{LEAVE_AT_FIRST_STEP}{RUN.format(arguments=[f'output_dir={folder}'])}"
        rows.append(paired("first_step", lambda: seconds(code), lambda: seconds(LIBRARIES), pairs=pairs))
    extra = rows[-1].ours - rows[-1].theirs
    print(f"first step: {extra:+.2f} s beside importing lightning.pytorch, torchvision and torchmetrics")
    report("start-up: the command / importing the libraries", rows)


if __name__ == "__main__":
    main()
