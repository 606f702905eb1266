"""Many small runs as one, against a raw loop's single fit, the same sweep run by run, and a plain script.

`python tests/benchmarks/population.py [--quick]`: one thread; everything from command to leaderboard.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent
RATES = [f"{10 ** (-4 + 2 * k / 7):.6f}" for k in range(8)]
GRADLOOP = "import sys; sys.argv[0] = 'gradloop-train'; from gradloop.commands.train import main; main()"


def raw_fit(epochs: int) -> float:
    """Seconds of the loop that one writes by hand, for the same shapes."""
    torch.set_num_threads(1)
    inputs, labels = torch.randn(800, 20), torch.randint(2, (800,))
    network = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer, loss_of = torch.optim.Adam(network.parameters(), lr=1e-3, fused=False), nn.CrossEntropyLoss()
    began = time.perf_counter()
    for _ in range(epochs):
        for x, t in zip(inputs.split(32), labels.split(32), strict=True):
            optimizer.zero_grad()
            loss_of(network(x), t).backward()
            optimizer.step()
        with torch.no_grad():
            loss_of(network(inputs[:200]), labels[:200])
    return time.perf_counter() - began


def seconds(arguments: list[str], folder: Path) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True, env=environment)
    return time.perf_counter() - began


def fit_seconds(folder: Path) -> float:
    """Of all runs together: each has its share."""
    records = [json.loads(path.read_text()) for path in folder.glob("outputs/sweeps/*/*/summary.json")]
    return sum(record["durations"]["fit"] for record in records)


def main() -> None:
    quick = "--quick" in sys.argv
    epochs, sizes = (10, (2,)) if quick else (100, (8, 32))
    raw = min(raw_fit(epochs) for _ in range(3))
    print(f"raw fit: {raw:.2f} s\n\n| runs | fit, in raw fits | from command to leaderboard | off | plain script |")
    print("|---|---|---|---|---|")
    for seeds in sizes:
        job = [f"seed=range({seeds})", f"trainer.max_epochs={epochs}", "experiment=synthetic_classification"]
        command = ["-c", GRADLOOP, "-m", f"optimizer.lr={','.join(RATES)}", *job]
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            whole = seconds(command, Path(one))
            fits = fit_seconds(Path(one)) / raw
            others = ["", ""]
            if seeds == sizes[0]:
                off = seconds([*command, "sweep.population=off"], Path(two))
                swept = [f"lr={','.join(RATES)}", f"seed=range({seeds})", f"epochs={epochs}"]
                plain = seconds([str(HERE / "plain_script.py"), "-m", *swept], Path(two))
                others = [f"{off / whole:.1f} ×", f"{plain / whole:.1f} ×"]
        print(f"| {8 * seeds} | {fits:.1f} | {whole:.1f} s | {others[0]} | {others[1]} |", flush=True)


if __name__ == "__main__":
    main()
