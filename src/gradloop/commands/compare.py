"""`gradloop-compare A B …`: runs and sweeps side by side: table, config difference, overlaid curves."""

import argparse
import glob
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gradloop.commands.chosen import last_run
from gradloop.commands.command_line import OneLineParser, code_of, show_traceback
from gradloop.commands.help import help_text
from gradloop.config.signature import relevant
from gradloop.drawing.page import markdown_table
from gradloop.drawing.run_page import shown_config
from gradloop.errors import CheckpointError, ConfigError, did_you_mean
from gradloop.runs.finding import SWEEP_FILE, last_sweep
from gradloop.runs.folder import claim_folder, write_atomically
from gradloop.runs.labels import mode_of, show
from gradloop.runs.record import read_record
from gradloop.streams import wrapped
from gradloop.sweeps.results.files import as_csv, as_markdown
from gradloop.sweeps.results.leaderboard import Leaderboard, leaderboard
from gradloop.sweeps.results.table import print_columns, print_leaderboard
from gradloop.sweeps.sweep_folder import REPEATED, SEED, Job, Sweep, as_text, override_values

Difference = tuple[list[str], list[list[str]]]  # header, cells
WRITTEN = ("comparison.md", "comparison.csv", "curves.png", "README.md", "report.html")
SHOWN = 8  # settings side by side in the config difference


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the runs that the command line names; return the exit code."""
    return code_of(lambda: compare(parse(sys.argv[1:] if arguments is None else arguments)), show_traceback())


def compare(options: argparse.Namespace) -> None:
    """Print the table and what differs; write both, and the curves."""
    if options.help:
        print(help_text("compare"))
        return
    sweep, configs = as_sweep(find_runs(options.runs), metric=options.metric)
    board = leaderboard(sweep)
    difference = config_difference(board, configs)
    print_leaderboard(board)
    print_difference(difference)
    folder = write_comparison(board, difference, options.out)
    print(f"written: {folder}/{{report.html,README.md,comparison.md,comparison.csv,curves.png}}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what to compare and how; raise ConfigError for a line that says neither."""
    parser = OneLineParser(add_help=False)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--metric")
    parser.add_argument("--out")
    parser.add_argument("--help", "-h", action="store_true")
    options = parser.parse_intermixed_args(list(arguments))
    if options.out == "":
        raise ConfigError("--out=: expected a folder")
    options.out = None if options.out is None else Path(options.out)
    if not options.runs and not options.help:
        raise ConfigError("nothing to compare: name runs or sweeps, as in gradloop-compare run=last sweep=last")
    return options


def find_runs(names: Sequence[str]) -> list[Path]:
    """Resolve runs, sweeps and patterns to run folders, each once and in order.

    Raises `CheckpointError` for what is no run and holds none.
    """
    found: list[Path] = []
    for given in names:
        name = given
        if name in ("last", "run=last", "sweep=last"):
            root = Path("outputs")
            name = str(last_sweep("sweep", root / "sweeps") if name == "sweep=last" else last_run(root))
        name = name.removeprefix("run=").removeprefix("sweep=")
        if not name:
            raise ConfigError(f"{given or repr(given)}: expected a run, a sweep or a pattern of these")
        paths = [Path(name)] if Path(name).exists() else [Path(match) for match in sorted(glob.glob(name))]
        if not paths:
            parent = Path(name).parent
            near = did_you_mean(Path(name).name, [p.name for p in parent.iterdir()] if parent.is_dir() else [])
            raise CheckpointError(f"{name}: no such run or sweep{near}")
        runs = [run for path in paths for run in _runs_in(path)]
        if not runs:
            one = "is no run and no sweep (no summary.json inside)"
            raise CheckpointError(f"{name}: {one if len(paths) == 1 else 'none of these is a run or a sweep'}")
        found += runs
    return list({run.resolve(): run for run in found}.values())


def _runs_in(path: Path) -> list[Path]:
    if (path / "summary.json").is_file():
        return [path]
    inside = [file.parent for file in path.glob("*/summary.json")]
    numbered = (path / SWEEP_FILE).is_file()
    return sorted(inside, key=lambda run: (len(run.name) if numbered else 0, run.name))


def as_sweep(runs: list[Path], *, metric: str | None = None) -> tuple[Sweep, list[dict[str, Any]]]:
    """See any runs as one sweep over what their configs differ in (the seed is the repetition).

    Also return each run's config as `{"optimizer.lr": 0.1, …}`, without what cannot change results.
    """
    records = [read_record(run) for run in runs]
    typed = [record.get("overrides") or [] for record in records]
    found = list(map(shown_config, runs))
    configs = [relevant(c) if c else override_values(lines) for c, lines in zip(found, typed, strict=True)]
    # of one that failed before it had a config, only what was typed is known
    whole = [config for config, there in zip(configs, found, strict=True) if there] or configs
    keys = list(dict.fromkeys(key for config in whole for key in config))
    seeds = {k for k in keys if k.endswith(f".{SEED}") and all(c.get(k) == c.get(SEED) for c in whole)}
    keys = [key for key in keys if key not in REPEATED and key not in seeds]  # data.seed follows seed
    held = {key: [*(c.get(key) for c in whole), *(c[key] for c in configs if key in c)] for key in keys}
    varied = [key for key in keys if len({as_text({key: value}) for value in held[key]}) > 1]
    words = " ".join(text for overrides in typed for text in overrides)
    # what someone chose says more than what followed
    unlike = {key: follows(key, [config.get(key) for config in configs], varied) for key in varied}
    varied.sort(key=lambda key: (unlike[key], f"{key}=" not in words))
    jobs = [
        Job(k, {key: configs[k].get(key) for key in varied}, typed[k], records[k].get("signature") or "", folder=run)
        for k, run in enumerate(runs)
    ]
    sweep = Sweep(Path(), "comparison", "compare", "", varied, finished=True, jobs=jobs)
    sweep.refresh()
    if metric:
        known = {name for job in sweep.jobs for name in job.record.get("metrics") or {}}
        if metric not in known:
            listing = did_you_mean(metric, known) or f"; there are {', '.join(sorted(known)) or 'none'}"
            raise CheckpointError(f"--metric {metric}: no run has it{listing}")
        monitors = [job.record.get("monitor") or {} for job in sweep.jobs]
        told = next((monitor.get("mode") for monitor in monitors if monitor.get("metric") == metric), None)
        own = [job.record.get("higher_is_better") or {} for job in sweep.jobs]
        if told is None and (
            rises := [better[name] for better in own if (name := metric.partition("/")[2]) in better]
        ):
            told = "max" if rises[0] else "min"
        sweep.mode = told or mode_of(metric)
        sweep.metric = metric
    return sweep, configs


def config_difference(board: Leaderboard, configs: list[dict[str, Any]]) -> Difference:
    """Header and cells: a line for each differing key, a column for each row of the table."""
    rows = board.rows[:SHOWN]
    cells = []
    for key in board.sweep.keys:
        values = [configs[row.jobs[0].number] for row in rows]
        cells.append([key, *(show(value[key]) if key in value else "-" for value in values)])
    return ["differs", *(f"#{place}" for place in range(1, len(rows) + 1))], cells


def print_difference(difference: Difference) -> None:
    """Print what differs as a table, or key by key where the terminal is too narrow for all columns."""
    header, cells = difference
    if not cells:
        print("the configs are the same (but for the seed)")
        return
    wide = sum(max(map(len, column)) + 2 for column in zip(header, *cells, strict=True)) - 2
    if not sys.stdout.isatty() or wide <= shutil.get_terminal_size().columns:
        print_columns("", header, cells)
        return
    print("differs:")
    shown = [row for row in cells if not follows(row[0], row[1:], [other[0] for other in cells])]
    for key, *values in shown:
        places = {value: [h for h, v in zip(header[1:], values, strict=True) if v == value] for value in values}
        told = ", ".join(f"{value} ({' '.join(rows)})" for value, rows in places.items())
        print(wrapped(f"  {key}: {told}", sys.stdout))
    if more := len(cells) - len(shown):
        print(f"  … and {more} knob{'s' * (more != 1)} that only some of these have: comparison.md")


def follows(key: str, values: Sequence[Any], keys: Sequence[str]) -> bool:
    """Whether a key differs only because something else is built there, which has no such knob."""
    if key.endswith("._target_") or not any(value in ("-", None) for value in values):
        return False
    return any(key.startswith(target.removesuffix("_target_")) for target in keys if target.endswith("._target_"))


def write_comparison(board: Leaderboard, difference: Difference, out: Path | None) -> Path:
    from gradloop.sweeps.results.curves import draw_curves
    from gradloop.sweeps.results.page import write_board_page

    if out is None:
        out = claim_folder(Path("outputs") / "compare" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    there = [name for name in WRITTEN if (out / name).exists()]
    if there and "comparison.csv" not in there:
        raise ConfigError(f"--out {out}: there is a {there[0]} that is no comparison's; expected a folder without")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"--out {out}: can't make the folder: {error.strerror}") from error
    lines = ["", "## What differs", "", *markdown_table(*difference), "", "![curves](curves.png)"]
    write_atomically(out / "comparison.md", as_markdown(board) + "\n".join(lines) + "\n")
    write_atomically(out / "comparison.csv", as_csv(board))
    draw_curves(board, out / "curves.png")
    write_board_page(board, out, difference)
    return out


if __name__ == "__main__":
    sys.exit(main())
