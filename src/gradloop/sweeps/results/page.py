"""The page of a sweep or a comparison: `report.html` and `README.md` beside the leaderboard."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from gradloop.drawing.page import Page, Section, write_page
from gradloop.sweeps.results.files import table
from gradloop.sweeps.results.leaderboard import Leaderboard, best_run, headline, summary
from gradloop.sweeps.sweep_folder import Sweep

ROWS = 100  # of the table; leaderboard.csv has them all
SHOWS = {
    "leaderboard": "the monitored metric against every varied key, the most important first",
    "search": "best so far, importance of the keys, Pareto front, and every setting as a line",
    "curves": "curves of the best settings: mean over the repetitions, band ± one std",
}


def write_board_page(
    board: Leaderboard, folder: Path, difference: tuple[list[str], list[list[str]]] | None = None
) -> Path:
    """Write the page; return its path. difference: of the configs, header and rows."""
    sweep = board.sweep
    header, cells = table(board, ROWS)
    header = [name or "verdict" for name in header]
    more = [f"The best {ROWS} of {len(board.rows)} settings."] if len(board.rows) > ROWS else []
    better = "higher is better" if sweep.mode == "max" else "lower is better"
    text = [f"Sorted by {sweep.metric} ({better}); mean ± std over {board.repetitions}. {summary(board)}", *more]
    doubtful = [f"{job.called}: {job.warning}" for job in sweep.jobs if job.warning]
    failed = [
        (job.called.removeprefix("run "), job.status, job.reason or "", sweep.command_of(job))
        for job in board.failed[:ROWS]
    ]
    run = best_run(board)
    best: Sequence[tuple[str, str]] = (
        [("run", run.called.removeprefix("run ")), ("folder", str(sweep.job_folder(run)))] if run else []
    )
    page = Page(sweep.name, f"{headline(board)}.", tags=["gradloop", "sweep", sweep.method])
    page.sections = [
        Section("Warnings", [*([board.warning] if board.warning else []), *doubtful]),
        Section("Leaderboard", text, header, cells),
        Section("What the verdicts mean", board.legend),
        Section("Best run", (), ("what", "value"), best),
        Section("What differs", (), *(difference or ((), ()))),
        Section("Pictures", pictures=[(folder / f"{name}.png", shows) for name, shows in SHOWS.items()]),
        Section("Runs that did not end well", (), ("run", "status", "reason", "again"), failed),
        Section("How to repeat it", code=repeating(sweep)),
    ]
    return write_page(folder, page)


def repeating(sweep: Sweep) -> str:
    """Return the commands that do the same again: a seed that was drawn is named."""
    first, *more = [*sweep.earlier, sweep.command]
    if first and sweep.seed is not None and not any(word.startswith("seed=") for word in shlex.split(first)):
        first = f"{first} seed={sweep.seed}"
    return "\n".join([first, *(f"{line} sweep.resume=last" for line in more)])
