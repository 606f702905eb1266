"""The answer of a sweep: one row a setting, best first, with what is mere noise marked as such.

A row is a setting (the varied keys without the seed); its numbers are mean ± std (n - 1) over its seeds.
Rows whose difference to the best row is not significant (p > 0.05) are ties: a paired t-test over the
seeds when both rows share at least two, else Welch's t-test (`gradloop.sweeps.statistics.compare`). With
one seed a row there is no spread, so no claim: the verdict is "?". Only runs that ended count.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradloop.runs.foreign_text import csv_text
from gradloop.runs.same_data import different_data
from gradloop.sweeps.statistics import Comparison, Spread, compare, spread
from gradloop.sweeps.sweep_folder import ENDED_WELL, Job, Sweep, as_text

WIDTH = 6  # varied keys in a table for people; the CSV has them all
LEGEND = {
    "best": "the best mean",
    "tie": "no significant difference to the best (p > 0.05: paired t-test over shared seeds, else Welch's); "
    "few seeds show large differences only",
    "worse": "significantly worse than the best (p ≤ 0.05)",
    "?": "one run only, so no claim is possible: add seeds=3",
}


@dataclass
class Row:
    """One setting: its jobs, its numbers, and how it compares with the best row."""

    setting: dict[str, Any]
    jobs: list[Job]
    spreads: dict[str, Spread] = field(default_factory=dict)
    verdict: str = ""
    comparison: Comparison | None = None

    @property
    def seconds(self) -> float | None:
        return spread(job.fit_seconds for job in self.jobs if job.status in ENDED_WELL).mean

    @property
    def status(self) -> str:
        counts = Counter(job.status for job in self.jobs)
        if len(counts) == 1:
            return next(iter(counts))
        return ", ".join(f"{number} {status}" for status, number in counts.most_common())


@dataclass
class Leaderboard:
    sweep: Sweep
    keys: list[str]
    metrics: list[str]  # the monitored one first, then the test metrics
    rows: list[Row]

    @property
    def best(self) -> Row | None:
        return self.rows[0] if self.rows and self.rows[0].verdict == "best" else None

    @property
    def failed(self) -> list[Job]:
        return [job for job in self.sweep.jobs if job.status not in (*ENDED_WELL, "not_run", "running")]

    @property
    def counts(self) -> Counter[str]:
        return Counter(job.status for job in self.sweep.jobs)

    @property
    def warning(self) -> str | None:
        return different_data(job.record for job in self.sweep.jobs if job.status in ENDED_WELL)

    @property
    def verdicts(self) -> list[str]:
        return [verdict for verdict in LEGEND if any(row.verdict == verdict for row in self.rows)]


def leaderboard(sweep: Sweep) -> Leaderboard:
    """Group the sweep's jobs into settings, average over seeds, sort by the monitored metric."""
    keys = [key for key in sweep.keys if len({as_text(job.setting.get(key)) for job in sweep.jobs}) > 1]
    keys = keys or sweep.keys
    groups: dict[str, list[Job]] = {}
    for job in sorted(sweep.jobs, key=lambda job: job.number):
        groups.setdefault(as_text({key: job.setting.get(key) for key in keys}), []).append(job)
    named = {name for job in sweep.jobs for name in job.record.get("metrics") or {}}
    tests = sorted(name for name in named if name.startswith("test/"))
    metrics = [sweep.metric, *(name for name in tests if name != sweep.metric)] if sweep.metric else tests
    rows = []
    for jobs in groups.values():
        row = Row({key: jobs[0].setting.get(key) for key in keys}, jobs)
        row.spreads = {metric: spread(job.value(metric) for job in _measured(jobs)) for metric in metrics}
        rows.append(row)
    if sweep.metric:
        _rank(rows, sweep.metric, sweep.mode)
    return Leaderboard(sweep, keys, metrics, rows)


def _measured(jobs: list[Job]) -> list[Job]:
    """The jobs whose values count. A pruned run stopped early: it only stands for itself."""
    completed = [job for job in jobs if job.status == "completed"]
    chosen = completed or [job for job in jobs if job.status == "pruned"]
    # a seed that was run again is no second seed
    return list({job.seed if job.seed is not None else f"run {job.number}": job for job in chosen}.values())


def _rank(rows: list[Row], metric: str, mode: str) -> None:
    sign = -1.0 if mode == "max" else 1.0

    def place(row: Row) -> tuple[int, float]:
        mean = row.spreads[metric].mean
        if mean is None:
            return 2, 0.0
        # a pruned setting never got to the end, however good its last value looked
        return (0 if any(job.status == "completed" for job in row.jobs) else 1), sign * mean

    rows.sort(key=place)
    if not rows or place(rows[0])[0] == 2:
        return
    best, *others = rows
    best.verdict = "best"
    for row in others:
        if place(row)[0] == 1:
            row.verdict = "pruned"
        elif place(row)[0] == 0:
            row.comparison = compare(_by_seed(best, metric), _by_seed(row, metric))
            row.verdict = "?" if row.comparison is None else "tie" if row.comparison.tie else "worse"


def _by_seed(row: Row, metric: str) -> dict[Any, float]:
    values = {job.seed: job.value(metric) for job in row.jobs if job.status == "completed"}
    return {seed: value for seed, value in values.items() if value is not None}


def table(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    """The leaderboard as text: header and cells, for people."""
    keys = board.keys[:WIDTH]
    header = ["#", *keys, *board.metrics, "n", "fit time", "status", ""]
    cells = []
    for place, row in enumerate(board.rows, start=1):
        n = row.spreads[board.metrics[0]].n if board.metrics else 0
        numbers = [str(row.spreads[metric]) for metric in board.metrics]
        setting = [show(row.setting[key]) for key in keys]
        verdict = row.verdict if row.verdict != "pruned" else ""
        cells.append([str(place), *setting, *numbers, str(n), duration(row.seconds), row.status, verdict])
    return header, cells


def as_markdown(board: Leaderboard) -> str:
    sweep = board.sweep
    header, cells = table(board)
    direction = "higher is better" if sweep.mode == "max" else "lower is better"
    lines = [f"# {sweep.name}", ""]
    if sweep.command:
        lines += [f"`{sweep.command}`", ""]
    lines += [f"Sorted by `{sweep.metric}` ({direction}); mean ± std over n seeds. {summary(board)}", ""]
    lines += ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    lines += ["", *(f"- **{verdict}**: {LEGEND[verdict]}" for verdict in board.verdicts)]
    if doubtful := [job for job in sweep.jobs if job.warning]:
        lines += ["", "## Runs to look at", "", *(f"- run {job.number}: {job.warning}" for job in doubtful)]
    if board.warning:
        lines += ["", board.warning]
    if board.failed:
        lines += ["", "## Runs that did not end well", ""]
        for job in board.failed:
            lines.append(f"- run {job.number}, {job.status}: {job.reason or 'no reason recorded'}")
            lines.append(f"  `{sweep.command_of(job)}`")
    return "\n".join(lines) + "\n"


def as_csv(board: Leaderboard) -> str:
    """The leaderboard for programs: full precision, one row a setting, empty where there is no value."""
    columns = [name for metric in board.metrics for name in (metric, f"{metric} std")]
    header = ["rank", *board.keys, *columns, "n", "fit seconds", "status", "verdict", "p", "test", "runs"]
    lines: list[list[Any]] = []
    for place, row in enumerate(board.rows, start=1):
        setting = ["null" if row.setting[key] is None else row.setting[key] for key in board.keys]
        numbers = [x for m in board.metrics for x in (row.spreads[m].mean, row.spreads[m].std)]
        n = row.spreads[board.metrics[0]].n if board.metrics else 0
        test = (row.comparison.p, row.comparison.test) if row.comparison else (None, None)
        runs = " ".join(str(job.number) for job in row.jobs)
        lines.append([place, *setting, *numbers, n, row.seconds, row.status, row.verdict, *test, runs])
    return csv_text(header, lines)


def write_leaderboard(sweep: Sweep, *, picture: bool) -> Leaderboard:
    """Write leaderboard.csv, .md (and .png, which takes a moment) into the sweep folder."""
    board = leaderboard(sweep)
    (sweep.folder / "leaderboard.csv").write_text(as_csv(board), encoding="utf-8")
    (sweep.folder / "leaderboard.md").write_text(as_markdown(board), encoding="utf-8")
    if picture:
        from gradloop.sweeps.leaderboard_picture import draw_leaderboard

        draw_leaderboard(board, Path(sweep.folder / "leaderboard.png"))
    return board


def summary(board: Leaderboard) -> str:
    """`9 runs: 7 completed, 1 failed, 1 not_run.`"""
    counts = ", ".join(f"{number} {status}" for status, number in board.counts.most_common())
    return f"{len(board.sweep.jobs)} runs: {counts}."


def show(value: Any) -> str:
    """A value as one would type it: 0.001, adam, null, [16,16]."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return as_text(value).replace(" ", "") if isinstance(value, list | dict) else str(value)


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
