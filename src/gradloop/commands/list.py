"""`gradloop list`: the runs and sweeps there are, the newest first: when, name, status, metric, folder."""

import os
import re
import shutil
import sys
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from gradloop.commands.chosen import values_of
from gradloop.commands.command_line import command
from gradloop.runs.record import COMPLETED, DIVERGED, FAILED, RUNNING, Record

HEADER = ["when", "name", "status", "metric", "folder"]
STATUS = HEADER.index("status")
WELL = re.compile(rf"{COMPLETED}|(\d+) of \1 done")


def main() -> None:
    """Run the command `gradloop list`."""
    command("list", run)


def run(overrides: list[str], config_dir: str | None, config_name: str) -> list[list[str]]:
    """Print and return the rows that the command line asks for."""
    values, _ = values_of("list", overrides, config_dir, config_name)
    rows, unreadable = listed(Path(str(values["output_dir"])), values)
    shown = rows[: values["most"]]
    if shown:
        print(as_table([HEADER, *shown], shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    if len(shown) < len(rows):
        print(f"… {len(rows) - len(shown)} more: most={len(rows)}")
    elif not rows:
        print(f"no such run or sweep in {values['output_dir']}")
    for folder in unreadable:
        print(f"left out, its record can't be read: {os.path.relpath(folder)}", file=sys.stderr)
    return shown


def as_table(rows: list[list[str]], width: int | None) -> str:
    """Return aligned rows, without the statuses where all is well; where they are too wide, each in two lines.

    What has no room, and always the folder, to be copied, stands in the second.
    """
    if all(WELL.fullmatch(row[STATUS]) for row in rows[1:]):
        rows = [[*row[:STATUS], *row[STATUS + 1 :]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    beside = len(widths)
    if width is not None and sum(widths) + 2 * len(widths) - 2 > width:
        beside = max([n for n in range(1, len(widths)) if sum(widths[:n]) + 2 * n - 2 <= width], default=1)
    lines = []
    for row in rows:
        cells = [f"{cell:{wide}}" for cell, wide in zip(row, widths, strict=True)]
        rest = [cell for cell in row[beside:] if cell]
        lines += ["  ".join(cells[:beside]).rstrip(), *(["  " + "  ".join(rest)] if rest else [])]
    return "\n".join(lines)


def listed(root: Path, values: dict[str, Any]) -> tuple[list[list[str]], list[Path]]:
    """Return the rows of all runs and sweeps below a folder that fit, the newest first; and what can't be read."""
    from gradloop.errors import CheckpointError
    from gradloop.runs.finding import runs_below, sweeps_below
    from gradloop.runs.folder import is_alive
    from gradloop.sweeps.sweep_folder import ENDED_WELL, as_text, read_sweep

    found = []
    unreadable = {file.parent for file in (root / "train").glob("*/summary.json")}
    for folder, record in runs_below(root / "train"):
        unreadable.discard(folder)
        gone = record["status"] == RUNNING and not is_alive(folder)
        monitor, best = record.get("monitor") or {}, record.get("best") or {}
        metric = said(monitor.get("metric"), best.get("value"))
        status = "interrupted" if gone else record["status"]
        found.append((record, str(record.get("name")), status, {status}, metric, folder))
    for folder in sweeps_below(root / "sweeps"):
        try:
            sweep = read_sweep(folder)
        except CheckpointError:
            unreadable.add(folder)
            continue
        of_settings: dict[str, list[float]] = {}
        for job in sweep.jobs:
            if sweep.metric and (value := job.value(sweep.metric)) is not None:
                of_settings.setdefault(as_text(job.setting), []).append(value)
        first = sorted(of_settings.values(), key=fmean, reverse=sweep.mode == "max")[:1]
        metric = "".join(said(sweep.metric, fmean(each)) + f" (n={len(each)})" * (len(each) > 1) for each in first)
        status = f"{sum(job.ended for job in sweep.jobs)} of {len(sweep.jobs)} done"
        for bad in (FAILED, DIVERGED):
            count = sum(job.status == bad for job in sweep.jobs)
            status += f", {count} {bad}" if count else ""
        began = datetime.fromtimestamp(sweep.started).isoformat(timespec="seconds") if sweep.started else ""
        record = min((job.record for job in sweep.jobs if job.record), key=when, default=Record(started=began))
        well = all(job.status in ENDED_WELL for job in sweep.jobs)
        statuses = {job.status for job in sweep.jobs if job.status != COMPLETED} | ({COMPLETED} if well else set())
        name = str(record.get("name") or sweep.name)
        found.append((record, name, status, statuses, metric, folder))
    found.sort(key=lambda row: when(row[0]), reverse=True)
    rows = [
        [when(record)[:16].replace("T", " "), name, status, metric, os.path.relpath(folder)]
        for record, name, status, statuses, metric, folder in found
        if {str(tag) for tag in values["tags"]} <= {str(tag) for tag in record.get("tags") or []}
        and (values["name"] is None or str(values["name"]) == str(name))
        and (values["status"] is None or str(values["status"]) in statuses)
    ]
    return rows, sorted(unreadable)


def when(record: Record) -> str:
    return str(record.get("started") or "")


def said(metric: Any, value: Any) -> str:
    return f"{metric} {value:.4g}" if metric and value is not None else ""
