"""What a sweep's run costs beyond its fit, what a busy core costs, what two jobs at once gain, how many runs cost.

`python tests/benchmarks/sweep.py`, or one part of it: `python tests/benchmarks/sweep.py uneven`
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from measuring import Ratio, paired, pairs_asked, report
from training_loop import synthetic_classification

RUN = "import sys; sys.argv = ['gradloop-train', *{arguments!r}]; from gradloop.commands.train import main; main()"

EPOCHS = 60  # of a fit that is timed by itself
SHORTEST = ["data=linear_regression", "model=linear", "callbacks=none", "logger=none", "trainer.max_epochs=1"]


@dataclass(frozen=True)
class Swept:
    """A sweep that has ended. Times in seconds since the epoch; memory: (runs ended, MB of the sweep's process)."""

    began: float
    ended: float
    records: list[dict[str, Any]]  # in the order in which the runs ended
    memory: list[tuple[int, float]]

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def sweep(*arguments: str, population: str = "off") -> Swept:
    """Run a sweep in a fresh process. Runs are not trained as one, if nobody asks for it."""
    with tempfile.TemporaryDirectory() as folder:
        began, memory = time.time(), []
        code = RUN.format(arguments=["-m", f"output_dir={folder}", f"sweep.population={population}", *arguments])
        with open(f"{folder}/printed", "w") as printed:
            process = subprocess.Popen([sys.executable, "-c", code], stdout=printed, stderr=printed)
            while process.poll() is None:
                time.sleep(0.05)
                if len(memory) == 0 or time.time() > memory[-1][2] + 2:
                    done = len(list(Path(folder).glob("sweeps/*/*/summary.json")))
                    memory.append((done, _megabytes(process.pid), time.time()))
        ended = time.time()
        if process.returncode:
            sys.exit(Path(folder, "printed").read_text())
        records = [json.loads(path.read_text()) for path in Path(folder).glob("sweeps/*/*/summary.json")]
        records.sort(key=_end)
        return Swept(began, ended, records, [sample[:2] for sample in memory])


def _end(record: dict[str, Any]) -> float:
    return datetime.fromisoformat(record["started"]).timestamp() + record["durations"]["total"]


def _megabytes(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has just ended, or this is no Linux
        return 0.0
    return pages * resource.getpagesize() / 1e6


def beyond_fit(repeats: int) -> list[float]:
    """Seconds a run beyond its fit, alone: from one's start to the next one's, of 16 short runs."""
    found = []
    for _ in range(repeats):
        records = sweep("seed=range(17)").records
        starts = [datetime.fromisoformat(record["started"]).timestamp() for record in records]
        found.append((starts[-1] - starts[0] - sum(r["durations"]["fit"] for r in records[:-1])) / 16)
    return found


def together(repeats: int) -> list[float]:
    """Seconds a run, fit included, that 16 short runs add to a sweep with default settings: trained as one."""
    found = []
    for _ in range(repeats):
        one, many = sweep("seed=0", population="auto"), sweep("seed=range(17)", population="auto")
        found.append((many.seconds - one.seconds) / 16)
    return found


def fit(folder: str) -> float:
    import gradloop

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return gradloop.train([f"trainer.max_epochs={EPOCHS}", f"output_dir={folder}"])["durations"]["fit"]


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


def speed_up(runs: int, epochs: int, pairs: int) -> Ratio:
    """Runs of so many epochs one after the other, against two at once; starts and leaderboards included."""
    settings = [f"trainer.max_epochs={epochs}", f"seed=range({runs})", "threads=1"]
    two = "hydra.launcher.n_jobs=2"
    times = [(sweep(*settings).seconds, sweep(*settings, two).seconds) for _ in range(pairs)]
    one, both = (statistics.median(of_it) for of_it in zip(*times, strict=True))
    return Ratio(f"{runs}_runs_in_turn", [a / b for a, b in times], one, both)


def python_loop(times: int) -> None:
    for _ in range(times):
        sum(range(20_000_000))


def torch_loop(times: int) -> None:
    """The tutorial's training, written by hand, on one thread."""
    torch.set_num_threads(1)
    for _ in range(times):
        synthetic_classification()


def loops(loop: Callable[[int], None], processes: int) -> float:
    """Time a loop in each of several processes: what this machine gains from a second core."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(loop, [1] * processes, chunksize=1)  # with what they import
        started = time.perf_counter()
        pool.map(loop, [5] * processes, chunksize=1)
        return time.perf_counter() - started


def loops_speed_up(loop: Callable[[int], None], pairs: int) -> Ratio:
    times = [(2 * loops(loop, 1), loops(loop, 2)) for _ in range(pairs)]
    one, both = (statistics.median(of_it) for of_it in zip(*times, strict=True))
    return Ratio(f"2_{loop.__name__}s_in_turn", [a / b for a, b in times], one, both)


def uneven() -> str:
    """24 trials of Optuna whose lengths differ by 1 to 10, two at a time: which share of the time both were busy."""
    lengths = ",".join(str(60 * factor) for factor in range(1, 11))
    asked = ["sweep=optuna", "sweep.n_trials=24", f"trainer.max_epochs=choice({lengths})", "seed=0", "threads=1"]
    done = sweep(*asked, "hydra.launcher.n_jobs=2")
    lives = [record["durations"]["total"] for record in done.records]
    wall = _end(done.records[-1]) - min(_end(r) - r["durations"]["total"] for r in done.records)
    lasted = f"their runs of {min(lives):.1f} to {max(lives):.1f} s"
    return f"24 trials two at a time, {lasted}: both busy {sum(lives) / (2 * wall):.1%} of the time"


def long_sweep(runs: int) -> str:
    """Many shortest runs: what one costs first and last, the memory of the sweep, how long its end takes."""
    done = sweep(*SHORTEST, f"seed=range({runs})")
    ends, tenth = [_end(record) for record in done.records], runs // 10
    first, last = (ends[2 * tenth] - ends[tenth]) / tenth, (ends[-1] - ends[-1 - tenth]) / tenth
    early = next(megabytes for count, megabytes in done.memory if count >= tenth)
    late = [megabytes for _, megabytes in done.memory if megabytes][-1]
    return (
        f"{runs} runs: {first:.3f} s a run from the {tenth}th on, {last:.3f} s at the end ({last / first:.2f} x); "
        f"memory of the sweep's process {early:.0f} MB after {tenth} runs, {late:.0f} MB at the end; "
        f"{done.ended - ends[-1]:.1f} s from the last run's end to the sweep's"
    )


def ratios(pairs: int) -> None:
    beyond = sorted(beyond_fit(max(1, pairs // 2)))
    added = sorted(together(max(1, pairs // 2)))
    print(f"Of 16 short runs, seconds a run beyond its fit, alone: {', '.join(f'{s:.2f}' for s in beyond)}; ", end="")
    print(f"seconds a run, fit included, as one (the default): {', '.join(f'{s:.2f}' for s in added)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = [paired("busy_core", lambda: busy(folder), lambda: fit(folder), pairs=pairs)]
    ten_seconds = round(10 / rows[0].theirs * EPOCHS)
    rows += [speed_up(8, ten_seconds, pairs), speed_up(24, ten_seconds, pairs)]
    rows += [loops_speed_up(loop, 2 * pairs) for loop in (torch_loop, python_loop)]
    report("sweeps", rows)
    numbers = {row.name: round(row.median, 3) for row in rows}
    seconds = {"seconds_beyond_fit": statistics.median(beyond), "seconds_a_run_as_one": statistics.median(added)}
    print(json.dumps(numbers | {name: round(value, 3) for name, value in seconds.items()}))


def main() -> None:
    pairs, part = pairs_asked(__doc__, 3, parts=("ratios", "uneven", "long"))
    if part in ("all", "ratios"):
        ratios(pairs)
    if part in ("all", "uneven"):
        print(uneven(), flush=True)
    if part in ("all", "long"):
        print(long_sweep(20 if pairs == 1 else 200), flush=True)
        if pairs > 1:
            print(long_sweep(1000), flush=True)


if __name__ == "__main__":
    main()
