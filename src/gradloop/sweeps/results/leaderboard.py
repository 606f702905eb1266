"""The answer of a sweep: one row a setting, best first, with what may be chance marked as such.

A row is a setting (the varied keys without seed and fold); its numbers are mean ± std (n - 1) over these. Every other
row is compared with the best one (`statistics.compare`), p corrected for all pairs of settings (Holm): "worse" where
p ≤ 0.05, else "undecided", which is no claim that both are as good. Only runs that ended count.
Runs of different data are sorted, and no more: the first is the "highest" or "lowest", and nothing is compared.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from math import comb
from typing import Any

from gradloop.runs.labels import short_names, show
from gradloop.runs.same_data import different_data
from gradloop.sweeps.results.statistics import Comparison, Spread, compare, holm, spread, step_of, undominated
from gradloop.sweeps.sweep_folder import ENDED_WELL, REPEATED, SEED, Job, Sweep, as_text

WIDTH = 6  # varied keys in a table for people; the CSV has them all
SHOWN = 20  # rows on a terminal; the files have them all
TESTED = ("test/", "test_")  # how the names of what the test part said begin; Lightning's own have the second
LONGEST = 160  # letters of the best setting
SPLITS = ("data.random_state", "data.split_seed")  # they decide which rows a run is measured on
ENDS = {"max": "highest", "min": "lowest"}  # the first row, where the data differ
LEGEND = {
    "best": "the best mean",
    "undecided": "the difference to the best may be chance (p > 0.05); more seeds would tell",
    "worse": "significantly worse than the best (p ≤ 0.05)",
}


@dataclass
class Row:
    """One setting: its jobs, its numbers, and how it compares with the best row."""

    setting: dict[str, Any]
    jobs: list[Job]
    spreads: dict[str, Spread] = field(default_factory=dict)
    verdict: str = ""
    comparison: Comparison | None = None
    behind: int = 0  # shared repetitions in which it is worse than the best row
    front: bool = False  # no other setting is better in one objective of the search, and as good in the others

    @property
    def seconds(self) -> float | None:
        return spread(job.fit_seconds for job in self.jobs if job.status in ENDED_WELL).mean

    @property
    def said(self) -> str:
        """The verdict, and on how many repetitions it stands: `undecided (n=3)`."""
        said = self.verdict
        if said == "undecided":
            said = f"undecided (n={self.comparison.n if self.comparison else 1})"
        return f"{said}, Pareto front" if self.front else said

    @property
    def worse_in(self) -> str:
        """In how many of the shared repetitions the best setting is ahead: `3 of 3`."""
        if self.comparison is None or not self.comparison.of:
            return ""
        return f"{self.behind} of {self.comparison.of}"

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
    metrics: list[str]  # the monitored one first, then a search's objectives and the test metrics
    rows: list[Row]

    @property
    def best(self) -> Row | None:
        """The first row, if any run has ended well."""
        return self.rows[0] if self.rows and self.rows[0].verdict in ("best", *ENDS.values()) else None

    @property
    def failed(self) -> list[Job]:
        return [job for job in self.sweep.jobs if job.status not in (*ENDED_WELL, "not_run", "running")]

    @cached_property
    def warning(self) -> str | None:
        """One line, if the runs saw different data."""
        other = different_data(job.record for job in self.sweep.jobs if job.status in ENDED_WELL)
        if other is None and (split := next((key for key in self.keys if key in SPLITS), None)):
            told = f"warning: settings are measured on different rows ({split})"
            return f"{told}: their numbers do not say which setting is better"
        return other

    @property
    def legend(self) -> list[str]:
        """What the verdicts mean that occur, and which test is behind them."""
        compared = [row.comparison for row in self.rows if row.comparison is not None]
        tested = {v: told for v, told in LEGEND.items() if compared or v == "best"}
        lines = [f"{v}: {told}" for v, told in tested.items() if any(row.verdict == v for row in self.rows)]
        if tests := list(dict.fromkeys(one.test for one in compared)):
            corrected = f", p corrected for {comb(len(compared) + 1, 2)} pairs (Holm)" if len(compared) > 1 else ""
            lines.append(f"difference: to the best, with its 95 % interval; {' or '.join(tests)}{corrected}")
            folded = any("resampled" in test for test in tests)
            if any(row.worse_in for row in self.rows):
                lines.append(
                    f"worse in: so many of the {'folds' if folded else 'seeds'} that it shares with the best"
                )
        if any("resampled" in test for test in tests):
            lines.append("folds share training data and are not independent: Nadeau & Bengio's correction")
        if any(row.front for row in self.rows):
            lines.append(f"Pareto front: no setting is better in all of {', '.join(self.sweep.objectives)}")
        file = "comparison" if self.sweep.method == "compare" else "leaderboard"
        if gone := [self.names[key] for key in self.keys[WIDTH:]]:
            lines.append(f"no room for {', '.join(gone)}: {file}.csv has every varied key")
        silent = [row for row in self.rows if row.verdict == "undecided" and row.comparison is None]
        if any(row.spreads[self.metrics[0]].n < 2 for row in silent):
            lines.append("one run a setting has no spread, so no claim is possible: add seeds=3")
        return lines

    @property
    def repetitions(self) -> str:
        """What a setting was repeated with: `seeds`, `folds`, or `seeds and folds`."""
        folds = any(_folds(row.jobs) for row in self.rows)
        seeds = any(len({job.values.get(SEED, job.record.get(SEED)) for job in row.jobs}) > 1 for row in self.rows)
        return " and ".join([*(["seeds"] if seeds or not folds else []), *(["folds"] if folds else [])])

    @property
    def names(self) -> dict[str, str]:
        """Varied key -> what people call it: `lr`, not `optimizer.lr`, unless two keys end so."""
        return short_names(self.keys)

    def setting(self, row: Row) -> str:
        """`lr=0.01 hidden_dims=[64]`"""
        return " ".join(f"{self.names[key]}={show(row.setting[key])}" for key in self.keys)


def leaderboard(sweep: Sweep) -> Leaderboard:
    """Group the sweep's jobs into settings, average over seeds, sort by the monitored metric."""
    varied = [key for key in sweep.keys if key not in REPEATED]
    keys = [key for key in varied if len({as_text({key: job.setting.get(key)}) for job in sweep.jobs}) > 1]
    keys = keys or varied
    groups: dict[str, list[Job]] = {}
    for job in sorted(sweep.jobs, key=lambda job: job.number):
        groups.setdefault(as_text({key: job.setting.get(key) for key in keys}), []).append(job)
    named = {name for job in sweep.jobs for name in job.record.get("metrics") or {}}
    tests = sorted(name for name in named if name.startswith(TESTED))
    metrics = list(dict.fromkeys([*([sweep.metric] if sweep.metric else []), *sweep.objectives, *tests]))
    rows = []
    for jobs in groups.values():
        row = Row({key: jobs[0].setting.get(key) for key in keys}, jobs)
        row.spreads = {metric: spread(job.value(metric) for job in measured(jobs)) for metric in metrics}
        rows.append(row)
    board = Leaderboard(sweep, keys, metrics, rows)
    if sweep.metric:
        _rank(rows, sweep.metric, sweep.mode, same_data=board.warning is None)
    if len(sweep.objectives) > 1:
        known = [row.spreads if row.verdict != "pruned" else {} for row in rows]
        means = [[spreads[m].mean if m in spreads else None for m in sweep.objectives] for spreads in known]
        for row, front in zip(rows, undominated(means, list(sweep.objectives.values())), strict=True):
            row.front = front
    return board


def measured(jobs: list[Job]) -> list[Job]:
    """The jobs whose values count. A pruned run stopped early: it only stands for itself."""
    completed = [job for job in jobs if job.status == "completed"]
    chosen = completed or [job for job in jobs if job.status == "pruned"]
    # a seed that was run again is no second seed
    return list({job.seed if job.seed is not None else f"run {job.number}": job for job in chosen}.values())


def _folds(jobs: list[Job]) -> int | None:
    """How many folds the runs' data were cut into, if they are of a cross-validation: of different folds."""
    if len({((job.record.get("data") or {}).get("folds") or {}).get("fold") for job in jobs}) < 2:
        return None
    found = [((job.record.get("data") or {}).get("folds") or {}).get("folds") for job in jobs]
    return next((folds for folds in found if isinstance(folds, int) and folds > 1), None)


def _rank(rows: list[Row], metric: str, mode: str, *, same_data: bool) -> None:
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
    best.verdict = "best" if same_data else ENDS[mode]
    for row in others:
        row.verdict = {0: "undecided" if same_data else "", 1: "pruned", 2: ""}[place(row)[0]]
    compared = [row for row in others if row.verdict == "undecided"]
    folds, reference = _folds(best.jobs), _by_repetition(best, metric)
    alike = [row for row in compared if _folds(row.jobs) == folds]  # others are measured on other rows
    step = step_of([job for row in rows for job in row.jobs], metric)
    found = holm([compare(reference, _by_repetition(row, metric), folds, step) for row in alike])
    for row, comparison in zip(alike, found, strict=True):
        row.comparison = comparison
        if comparison is not None:
            row.behind = comparison.lower if mode == "max" else comparison.higher
            # of a setting that lacks some of the best's seeds, those that both have may say the opposite
            row.verdict = "worse" if comparison.decided and sign * comparison.difference > 0 else "undecided"


def _by_repetition(row: Row, metric: str) -> dict[tuple[Any, Any], float]:
    """Return the value of each repetition: (fold, or None; seed) -> value."""
    values = {(job.fold, job.seed): job.value(metric) for job in row.jobs if job.status == "completed"}
    return {repetition: value for repetition, value in values.items() if value is not None}


def headline(board: Leaderboard) -> str:
    """`best: lr=0.01   val/accuracy 0.961 ± 0.007 (n=3)`; the sweep's name while no run has ended well."""
    if board.best is None:
        return board.sweep.name
    spread = board.best.spreads[board.sweep.metric or ""]
    said = board.setting(board.best) or "the one setting"
    if len(said) > LONGEST:
        said = f"{said[:LONGEST].rpartition(' ')[0]} …"
    return f"{board.best.verdict}: {said}   {board.sweep.metric} {spread} (n={spread.n})"


def best_run(board: Leaderboard) -> Job | None:
    """The best run of the best setting."""
    metric = board.sweep.metric or ""
    runs = {job.number: job for job in (board.best.jobs if board.best else []) if job.value(metric) is not None}
    pick = max if board.sweep.mode == "max" else min
    return pick(runs.values(), key=lambda job: job.value(metric) or 0.0) if runs else None


def summary(board: Leaderboard) -> str:
    """`9 runs: 7 completed, 1 failed, 1 not_run.`"""
    found = Counter(job.status for job in board.sweep.jobs).most_common()
    counts = ", ".join(f"{number} {status}" for status, number in found)
    runs = len(board.sweep.jobs)
    return f"{runs} run{'s' * (runs != 1)}: {counts}."
