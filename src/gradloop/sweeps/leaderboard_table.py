"""The leaderboard on the terminal: a table for people, plain lines for pipes and log files."""

from __future__ import annotations

import sys
from typing import TextIO

from gradloop.sweeps.leaderboard import LEGEND, Leaderboard, summary, table


def print_leaderboard(board: Leaderboard, stream: TextIO | None = None) -> None:
    """Print rows, the meaning of the verdicts, failed runs with reason and command."""
    stream = stream or sys.stdout
    header, cells = table(board)
    title = f"{board.sweep.name}: {board.sweep.metric or 'no metric yet'}"
    print_columns(title, header, cells, stream)
    for verdict in board.verdicts:
        print(f"  {verdict:5} {LEGEND[verdict]}", file=stream)
    print(summary(board), file=stream)
    for job in board.sweep.jobs:
        if job.warning:
            print(f"run {job.number} warning: {job.warning}", file=stream)
    if board.warning:
        print(board.warning, file=stream)
    for job in board.failed:
        print(f"run {job.number} {job.status}: {job.reason or 'no reason recorded'}", file=stream)
        print(f"  again: {board.sweep.command_of(job)}", file=stream)


def print_columns(title: str, header: list[str], cells: list[list[str]], stream: TextIO | None = None) -> None:
    """Print a table: with colours on a terminal, as aligned plain text elsewhere."""
    stream = stream or sys.stdout
    (_print_rich if stream.isatty() else _print_plain)(title, header, cells, stream)


def _print_plain(title: str, header: list[str], cells: list[list[str]], stream: TextIO) -> None:
    if title:
        print(title, file=stream)
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for row in [header, *cells]:
        line = "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print(line.rstrip(), file=stream)


def _print_rich(title: str, header: list[str], cells: list[list[str]], stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"best": "bold green", "tie": "green", "worse": "dim"}
    grid = Table(title=Text(title) if title else None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in header:
        right = name in ("#", "n", "fit time")
        grid.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in cells:
        failed = any(word in row[-2] for word in ("failed", "diverged", "interrupted"))
        grid.add_row(*map(Text, row), style="red" if failed else styles.get(row[-1], ""))
    Console(file=stream).print(grid)
