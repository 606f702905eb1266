"""Ratios of durations, measured pair by pair in one run: what a noisy machine can still tell."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """The ratios of n interleaved pairs."""

    name: str
    ratios: list[float]
    ours: float  # seconds, median
    theirs: float  # seconds, median

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)


def paired(name: str, ours: Callable[[], float], theirs: Callable[[], float], *, pairs: int) -> Ratio:
    """Time ours, theirs, ours, theirs, … after one warm-up of each; each call returns its own seconds."""
    ours(), theirs()
    times = [(ours(), theirs()) for _ in range(pairs)]
    return Ratio(
        name,
        [a / b for a, b in times],
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
    )


def pairs_asked(description: str | None, default: int, parts: tuple[str, ...] = ()) -> Any:
    """Read the command line of a benchmark: how many pairs, one with `--quick`, which only shows that it runs.

    With parts: (pairs, the one that was named, or "all").
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=default)
    parser.add_argument("--quick", action="store_true", help="one pair, only to see that it runs")
    if parts:
        parser.add_argument("part", nargs="?", default="all", choices=["all", *parts])
    given = parser.parse_args()
    pairs = 1 if given.quick else given.pairs
    return (pairs, given.part) if parts else pairs


def machine() -> str:
    """Return the machine in one line."""
    import torch

    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    )


def report(title: str, rows: list[Ratio], *, unit: str = "s") -> None:
    """Print a Markdown table of the ratios and a last line of JSON with their medians. unit: of what was measured."""
    print(f"\n### {title}\n\n{machine()}\n")
    print("| what | ratio (median) | spread | ours | theirs | pairs |\n|---|---|---|---|---|---|")
    for row in rows:
        spread = f"{min(row.ratios):.2f} to {max(row.ratios):.2f}"
        both = " | ".join(
            f"{value:.3f} s" if unit == "s" else f"{value:.0f} {unit}" for value in (row.ours, row.theirs)
        )
        print(f"| {row.name} | {row.median:.2f} | {spread} | {both} | {len(row.ratios)} |")
    print(json.dumps({row.name: round(row.median, 3) for row in rows}))
