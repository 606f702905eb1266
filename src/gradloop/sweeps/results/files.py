"""The leaderboard as text: for people in Markdown and as cells, for programs as CSV."""

import re
from pathlib import Path
from typing import Any

from gradloop.drawing.page import markdown_table
from gradloop.runs.foreign_text import csv_text, printable
from gradloop.runs.labels import show
from gradloop.sweeps.results.leaderboard import WIDTH, Leaderboard, Row, leaderboard, summary
from gradloop.sweeps.sweep_folder import Sweep

DAY = re.compile(r"^\d{4}-\d\d-\d\d_")
NAME = 26  # letters of a run's name


def table(board: Leaderboard, most: int | None = None) -> tuple[list[str], list[list[str]]]:
    """The leaderboard as text: header and cells, for people. Columns that say nothing are left out."""
    rows = board.rows[:most]
    columns = [
        ("#", [str(place) for place in range(1, len(rows) + 1)]),
        *([("run", [name_of(row) for row in rows])] if board.sweep.method == "compare" else []),  # whose settings
        *((board.names[key], [show(row.setting[key]) for row in rows]) for key in board.keys[:WIDTH]),
        *((metric, [str(row.spreads[metric]) for row in rows]) for metric in board.metrics),
        ("n", [str(row.spreads[board.metrics[0]].n if board.metrics else 0) for row in rows]),
        ("fit time", [duration(row.seconds) for row in rows]),
        ("difference", [str(row.comparison or "") for row in rows]),
        ("worse in", [row.worse_in for row in rows]),
        ("status", [row.status for row in rows]),
        ("", [row.said if row.verdict != "pruned" else "" for row in rows]),
    ]
    completed = all(row.status == "completed" for row in board.rows)
    columns = [
        (name, texts) for name, texts in columns
        if not (name == "status" and completed) and (any(texts) or name not in ("difference", "worse in"))
    ]  # fmt: skip
    header, by_column = zip(*columns, strict=True)
    return list(header), [list(cells) for cells in zip(*by_column, strict=True)]


def name_of(row: Row) -> str:
    """Return the name of a row's run, with its sweep's if it has one; of several, the first and how many more."""
    folder = (row.jobs[0].folder or Path()).resolve()  # it may be given as `.`
    name = printable(f"{folder.parent.name}/{folder.name}" if folder.name.isdecimal() else folder.name)
    short = name if len(name) <= NAME else DAY.sub("", name)
    short = short if len(short) <= NAME else f"…{short[1 - NAME :]}"
    return f"{short} +{len(row.jobs) - 1}" if len(row.jobs) > 1 else short


def as_markdown(board: Leaderboard) -> str:
    sweep = board.sweep
    header, cells = table(board)
    direction = "higher is better" if sweep.mode == "max" else "lower is better"
    lines = [f"# {sweep.name}", ""]
    if sweep.command:
        lines += [", then ".join(f"`{line}`" for line in (*sweep.earlier, sweep.command)), ""]
    order = f"Sorted by `{sweep.metric}` ({direction}); mean ± std over n {board.repetitions}."
    lines += [f"{order} {summary(board)}", ""]
    lines += [*markdown_table(header, cells), "", *(f"- {line}" for line in board.legend)]
    if doubtful := [job for job in sweep.jobs if job.warning]:
        lines += ["", "## Runs to look at", "", *(f"- {job.called}: {job.warning}" for job in doubtful)]
    if board.warning:
        lines += ["", board.warning]
    if board.failed:
        lines += ["", "## Runs that did not end well", ""]
        for job in board.failed:
            lines.append(f"- {job.called}, {job.status}: {job.reason or 'no reason recorded'}")
            lines.append(f"  `{sweep.command_of(job)}`")
    return "\n".join(lines) + "\n"


def as_rows(board: Leaderboard) -> tuple[list[str], list[list[Any]]]:
    """The leaderboard for programs, header and cells: full precision, one row a setting, None for no value."""
    columns = [name for metric in board.metrics for name in (metric, f"{metric} std")]
    header = ["rank", *board.keys, *columns, "n", "fit seconds", "status", "verdict",
              "difference", "difference low", "difference high", "worse in", "of", "p", "tested by",
              "runs"]  # fmt: skip
    lines: list[list[Any]] = []
    for place, row in enumerate(board.rows, start=1):
        setting = [row.setting[key] for key in board.keys]
        numbers = [x for m in board.metrics for x in (row.spreads[m].mean, row.spreads[m].std)]
        n = row.spreads[board.metrics[0]].n if board.metrics else 0
        one = row.comparison
        test = (one.difference, one.low, one.high, row.behind, one.of, one.p, one.test) if one else (None,) * 7
        runs = " ".join(str(job.number) for job in row.jobs)
        lines.append([place, *setting, *numbers, n, row.seconds, row.status, row.verdict, *test, runs])
    return header, lines


def as_csv(board: Leaderboard) -> str:
    header, lines = as_rows(board)
    words = [{key: "null" for key in board.keys if row.setting[key] is None} for row in board.rows]
    texts = [[null.get(key, cell) for key, cell in zip(header, line, strict=True)]
             for null, line in zip(words, lines, strict=True)]  # fmt: skip
    return csv_text(header, texts)


def write_leaderboard(sweep: Sweep) -> Leaderboard:
    """Write leaderboard.csv and .md into the sweep's folder."""
    board = leaderboard(sweep)
    (sweep.folder / "leaderboard.csv").write_text(as_csv(board), encoding="utf-8")
    (sweep.folder / "leaderboard.md").write_text(as_markdown(board), encoding="utf-8")
    return board


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2g} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
