"""The leaderboard on the terminal: a table for people, plain lines for pipes and log files."""

import sys
from collections.abc import Sequence
from pathlib import Path

from gradloop.runs.record import INTERRUPTED
from gradloop.streams import wrapped
from gradloop.sweeps.results.files import table
from gradloop.sweeps.results.leaderboard import SHOWN, TESTED, Leaderboard, best_run, headline, summary
from gradloop.sweeps.sweep_folder import say_interrupted

MOST = 8  # columns left out that are named one by one
GAP = 2  # columns between two columns of a table


def print_leaderboard(board: Leaderboard) -> None:
    """Print rows, the meaning of the verdicts, failed runs with reason and command, and last of all the best."""
    header, cells = table(board, SHOWN)
    tests = [name for name in board.metrics[1:] if name.startswith(TESTED)]
    same = "test" + str(board.sweep.metric).removeprefix("val")
    kept = {board.sweep.metric, same if same in tests else next(iter(tests), None)}  # the files have them all
    kept |= board.sweep.objectives.keys()
    columns = [k for k, name in enumerate(header) if name not in board.metrics or name in kept]
    header, cells = [header[k] for k in columns], [[row[k] for k in columns] for row in cells]
    title = f"{board.sweep.name}: {board.sweep.metric or 'no metric yet'}"
    compared = [name for name in header if name in board.names.values()] if "run" in header else []
    gone = print_columns(
        title,
        header,
        cells,
        spare=["fit time", "worse in", "n", "status", "difference", *compared[::-1], *board.metrics[:0:-1], "run"],
        kept=("#", board.sweep.metric or "", ""),
    )
    if (more := len(board.rows) - len(cells)) > 0:
        where = "the files" if board.sweep.folder == Path() else "leaderboard.md"
        print(f"… {more} more in {where}")
    for line in [line for line in board.legend if line.partition(":")[0] not in gone]:
        print(wrapped(f"  {line}", sys.stdout))
    print(summary(board))
    for job in board.sweep.jobs:
        if job.warning:
            print(wrapped(f"{job.called} warning: {job.warning}", sys.stdout))
    if board.warning:
        print(wrapped(board.warning, sys.stdout))
    stopped = [job for job in board.failed if job.status == INTERRUPTED]
    if stopped:
        print(say_interrupted(stopped))
    for job in [job for job in board.failed if job not in stopped][:SHOWN]:
        print(f"{job.called} {job.status}: {job.reason or 'no reason recorded'}")
        print(f"  again: {board.sweep.command_of(job)}")
    if (run := best_run(board)) is not None:
        print(f"{wrapped(headline(board), sys.stdout)}\n  its best run: {board.sweep.job_folder(run)}")


def print_columns(
    title: str, header: list[str], cells: list[list[str]], *, spare: Sequence[str] = (), kept: tuple[str, ...] = ()
) -> list[str]:
    """Print a table: with colours on a terminal, as aligned plain text elsewhere. Return what it had no room for.

    A terminal too narrow for all columns does without some, and a line says which: no number and no word is broken.
    spare: those to go, the first of them first; then the last go that are not in `kept`.
    """
    from rich.cells import cell_len, set_cell_size

    widths = [max(map(cell_len, column)) for column in zip(header, *cells, strict=True)]
    if not sys.stdout.isatty():
        if title:
            print(title)
        for row in [header, *cells]:
            print("  ".join(map(set_cell_size, row, widths)).rstrip())
        return []
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout)
    shown = list(range(len(header)))
    first = [header.index(name) for name in spare if name in header]
    others = [k for k in reversed(shown) if header[k] not in (kept or header[:1]) and k not in first]
    for k in [*first, *others]:
        if sum(widths[place] + GAP for place in shown) - GAP > console.width:
            shown.remove(k)
    gone = [name for k, name in enumerate(header) if k not in shown]
    styles = {"best": "bold green", "worse": "dim"}
    grid = Table(
        title=Text(title) if title else None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        show_edge=False, pad_edge=False, padding=(0, 1), collapse_padding=True,
    )  # fmt: skip
    for k in shown:
        right = header[k] in ("#", "n", "fit time")
        grid.add_column(Text(header[k]), justify="right" if right else "left", overflow="ellipsis", no_wrap=True)
    for row in cells:
        failed = any(word in cell for word in ("failed", "diverged", "interrupted") for cell in row[-2:])
        grid.add_row(*(Text(row[k]) for k in shown), style="red" if failed else styles.get(row[-1], ""))
    console.print(grid)
    if gone:
        names = ", ".join(gone) if len(gone) <= MOST else f"{len(gone)} columns, {gone[0]} to {gone[-1]}"
        print(wrapped(f"  no room here for {names}: the files have all", sys.stdout))
    return gone
