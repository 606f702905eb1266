"""What a sweep's run costs beyond its fit, what a busy core costs, what two jobs at once gain.

`python tests/benchmarks/sweep.py`
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Ratio, paired, pairs_asked, report

RUN = "import sys; sys.argv = ['gradloop-train', *{arguments!r}]; from gradloop.commands.train import main; main()"


def sweep(*arguments: str) -> tuple[float, list[dict]]:
    """Run a sweep in a fresh process; return its seconds and its runs' records."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        code = RUN.format(arguments=["-m", f"output_dir={folder}", *arguments])
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        taken = time.perf_counter() - started
        return taken, [json.loads(path.read_text()) for path in Path(folder).glob("sweeps/*/*/summary.json")]


def beyond_fit(repeats: int) -> list[float]:
    """Seconds a run beyond its fit: of 16 short runs, less what one run's sweep needs to start."""
    found = []
    for _ in range(repeats):
        (one, one_record), (many, records) = sweep("seed=0"), sweep("seed=range(17)")
        fits = sum(r["durations"]["fit"] for r in records) - one_record[0]["durations"]["fit"]
        found.append((many - one - fits) / 16)
    return found


def fit(folder: str) -> float:
    import gradloop

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return gradloop.train(["trainer.max_epochs=60", f"output_dir={folder}"])["durations"]["fit"]


def spin(stop: multiprocessing.synchronize.Event) -> None:
    while not stop.is_set():
        sum(range(10_000))


def busy(folder: str) -> float:
    """Time a fit while another process keeps a core busy."""
    stop = multiprocessing.Event()
    other = multiprocessing.Process(target=spin, args=(stop,))
    other.start()
    try:
        return fit(folder)
    finally:
        stop.set()
        other.join()


def speed_up(runs: int, pairs: int) -> Ratio:
    """Runs of ten seconds one after the other, against two at once; starts and leaderboards included."""
    settings = ["trainer.max_epochs=500", f"seed=range({runs})", "threads=1"]
    times = [(sweep(*settings)[0], sweep(*settings, "hydra.launcher.n_jobs=2")[0]) for _ in range(pairs)]
    one, both = (statistics.median(of_it) for of_it in zip(*times, strict=True))
    return Ratio(f"{runs}_runs_in_turn", [a / b for a, b in times], one, both)


def loops(processes: int) -> float:
    """Time a bare Python loop in each of several processes: what this machine gains from a second core."""
    with multiprocessing.Pool(processes) as pool:
        started = time.perf_counter()
        pool.map(sum, [range(100_000_000)] * processes, chunksize=1)
        return time.perf_counter() - started


def loops_speed_up(pairs: int) -> Ratio:
    times = [(2 * loops(1), loops(2)) for _ in range(pairs)]
    one, both = (statistics.median(of_it) for of_it in zip(*times, strict=True))
    return Ratio("2_loops_in_turn", [a / b for a, b in times], one, both)


def main() -> None:
    pairs = pairs_asked(__doc__, 5)
    beyond = sorted(beyond_fit(max(1, pairs // 2)))
    print(f"Of 16 short runs, seconds a run beyond its fit: {', '.join(f'{s:.2f}' for s in beyond)}")
    with tempfile.TemporaryDirectory() as folder:
        rows = [paired("busy_core", lambda: busy(folder), lambda: fit(folder), pairs=pairs)]
    rows += [speed_up(8, pairs), speed_up(24, pairs), loops_speed_up(2 * pairs)]
    report("sweeps", rows)
    numbers = {row.name: round(row.median, 3) for row in rows}
    print(json.dumps(numbers | {"seconds_beyond_fit": round(statistics.median(beyond), 3)}))


if __name__ == "__main__":
    main()
