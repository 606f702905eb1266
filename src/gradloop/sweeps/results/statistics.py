"""Mean, spread and significance over seeds: how a leaderboard tells a winner from a lucky draw."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Any

SHARES = ("accuracy", "exact_match", "f1", "auroc")  # metrics that go by the rows that are right
LEVEL = 0.05  # two settings differ where p is at or below it; intervals have 1 - LEVEL
LARGE = 1e6  # from here on, all digits would say more than is known
HUGE = 1e70  # whose squares may be infinities


@dataclass(frozen=True)
class Spread:
    """`mean ± std (n)` of one quantity over the seeds of one setting; no value at all has n = 0."""

    mean: float | None
    std: float | None  # with n - 1 in the denominator; None for n < 2
    n: int

    def __str__(self) -> str:
        if self.mean is None:
            return ""
        if self.std is None:
            return f"{self.mean:.4g}"
        # as many decimals as the spread gives a meaning to: 0.97123 ± 0.0042 -> 0.9712 ± 0.0042
        decimals = decimals_of(self.std)
        if abs(self.mean) >= LARGE:
            digits = 1 + math.floor(math.log10(abs(self.mean) / self.std)) if self.std else 3
            return f"{self.mean:.{max(0, min(digits, 15))}e} ± {self.std:.2g}"
        if 0 < abs(self.mean) < 10 ** (1 - decimals):  # nothing of it would be left
            return f"{self.mean:.3g} ± {self.std:.2g}"
        return f"{self.mean:.{decimals}f} ± {self.std:.{decimals}f}"


def decimals_of(spread: float) -> int:
    """Return how many decimals show two digits of a spread: 4 for 0.0042."""
    return 4 if spread < 1e-9 else min(6, max(0, 1 - math.floor(math.log10(spread))))


def spread(values: Iterable[float | None]) -> Spread:
    """Return mean and sample standard deviation `sqrt(Σ (x - mean)² / (n - 1))` of the finite values."""
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    n = len(finite)
    if n == 0:
        return Spread(None, None, 0)
    scale = power_above(finite)
    finite = [value / scale for value in finite]
    mean = math.fsum(finite) / n
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / (n - 1)) if n > 1 else None
    return Spread(mean * scale, None if std is None else std * scale, n)


def power_above(values: Iterable[float]) -> float:
    """Return a power of two to divide values by, 1 but for huge ones, whose squares are infinities."""
    largest = max(map(abs, values), default=0.0)
    return math.ldexp(1.0, math.frexp(largest)[1]) if math.isfinite(largest) and largest > HUGE else 1.0


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Comparison:
    """How far a setting is from the best one, and whether that could be chance.

    difference: other - best, with its 95 % interval from low to high. p: two-sided; `holm` corrects it for the number
    of pairs. lower: of the `of` shared repetitions, how many have the other setting below the best one.
    """

    difference: float
    low: float
    high: float
    p: float
    test: str  # "paired t-test", "Welch's t-test" or "corrected resampled t-test"
    n: int  # repetitions of the one that has fewer
    lower: int
    higher: int
    of: int

    @property
    def decided(self) -> bool:
        return self.p <= LEVEL

    def __str__(self) -> str:
        """`-0.175 [-0.36, 0.01]`"""
        size = max(abs(self.difference), (self.high - self.low) / 2)
        if 0 < size < 1e-5 or size >= LARGE:
            return f"{self.difference:+.2g} [{self.low:.2g}, {self.high:.2g}]"
        places = decimals_of(size)
        # of an end near zero, the sign decides
        low, high = (
            f"{end:.{places}f}" if round(end, places) or not end else f"{end:.1g}" for end in (self.low, self.high)
        )
        return f"{self.difference:+.{places}f} [{low}, {high}]"


def compare(
    best: Mapping[Any, float], other: Mapping[Any, float], folds: int | None = None, step: float = 0.0
) -> Comparison | None:
    """Two-sided test of "both settings have the same mean", from `{repetition: value}` of each.

    Settings that share at least two repetitions (a seed, a fold) are compared one by one (paired t-test over what is
    shared): a seed fixes data, split and initial weights, so what is easy for one setting is easy for the other and
    pairing takes that common part out. Otherwise Welch's t-test, which assumes neither equal spreads
    nor equal counts.
    folds: the repetitions are those of a cross-validation with so many folds. Their training sets overlap, so the
    variance of the mean difference is not s² / n but s² (1 / n + 1 / (folds - 1)): Nadeau & Bengio's corrected
    resampled t-test (Machine Learning 52, 2003). They are (fold, seed): all seeds of a fold train and are tested on
    the same rows, so that only their mean counts, once.
    step: the finest difference that the quantity can show, 1 / rows of an accuracy. A value is known to step / √12
    (rounding, Sheppard 1898), so that no spread counts as less: two seeds may well differ by the same number of rows.
    Where it isn't known and all differences are equal, it is taken for the smallest that there is.
    One run a setting has no spread to compare a difference with: None.
    """
    if (scale := power_above([*best.values(), *other.values()])) != 1:
        smaller = [{key: value / scale for key, value in side.items()} for side in (best, other)]
        if (found_small := compare(smaller[0], smaller[1], folds, step / scale)) is None:
            return None
        ends = {name: getattr(found_small, name) * scale for name in ("difference", "low", "high")}
        return replace(found_small, **ends)
    if folds:
        best, other = fold_means(best, other)
        if len(best) < 2:  # other folds are other rows
            return None
    values = sorted([*best.values(), *other.values()])
    rounding = 1e-6 * max(map(abs, values), default=0.0)  # of numbers in float32
    finest = min((gap for a, b in pairwise(values) if (gap := b - a) > rounding), default=0.0)
    shared = sorted(best.keys() & other.keys(), key=str)
    lower = sum(other[key] < best[key] for key in shared)
    higher = sum(other[key] > best[key] for key in shared)
    if len(shared) >= 2:
        found = spread(other[key] - best[key] for key in shared)
        difference, n = found.mean or 0.0, len(shared)
        step = step or (finest if (found.std or 0.0) <= rounding else 0.0)
        apart = max(found.std or 0.0, step / math.sqrt(6))  # of two values
        error = apart * math.sqrt(1 / n + (1 / (folds - 1) if folds else 0.0))
        freedom = float(n - 1)
        test = "corrected resampled t-test" if folds else "paired t-test"
    else:
        one, two = spread(best.values()), spread(other.values())
        if one.std is None or two.std is None or one.mean is None or two.mean is None:
            return None
        difference, test, n = two.mean - one.mean, "Welch's t-test", min(one.n, two.n)
        step = step or (finest if max(one.std, two.std) <= rounding else 0.0)
        parts = [max(side.std or 0.0, step / math.sqrt(12)) ** 2 / side.n for side in (one, two)]
        error = math.sqrt(sum(parts))
        weighed = sum(part**2 / (side.n - 1) for part, side in zip(parts, (one, two), strict=True))
        freedom = sum(parts) ** 2 / weighed if weighed else float(one.n + two.n - 2)
    half, p = 0.0, 1.0
    if error > rounding:
        from scipy.special import stdtr, stdtrit

        half, p = float(stdtrit(freedom, 1 - LEVEL / 2)) * error, 2 * float(stdtr(freedom, -abs(difference) / error))
    return Comparison(difference, difference - half, difference + half, p, test, n, lower, higher, len(shared))


def fold_means(
    best: Mapping[Any, float], other: Mapping[Any, float]
) -> tuple[Mapping[Any, float], Mapping[Any, float]]:
    """Return the mean of each fold that both have, from `{(fold, seed): value}` of each.

    It is over the seeds that both have, and where these are none, over each one's own.
    """
    one: dict[Any, float] = {}
    two: dict[Any, float] = {}
    for fold in {fold for fold, _ in best} & {fold for fold, _ in other}:
        shared = {key for key in best.keys() & other.keys() if key[0] == fold}
        for side, means in ((best, one), (other, two)):
            means[fold] = fmean(side[key] for key in shared or side.keys() if key[0] == fold)
    return one, two


def step_of(jobs: Sequence[Any], metric: str) -> float:
    """Return the finest difference that a metric can show: one row of the part. 0: nobody knows. jobs: a sweep's."""
    part, _, name = metric.partition("/")
    counts = [((job.record.get("data") or {}).get("samples") or {}).get(part) for job in jobs]
    several = name == "accuracy" and any(job.record.get("task") == "multilabel" for job in jobs)
    labels = [(job.record.get("data") or {}).get("num_outputs") for job in jobs] if several else []
    rows = [count for count in counts if isinstance(count, int) and count > 0]
    if rows and (most := max((n for n in labels if isinstance(n, int)), default=1)) > 1:  # a label of a row
        return 1 / (min(rows) * most)
    return 1 / min(rows) if rows and name in SHARES else 0.0


def holm(found: Sequence[Comparison | None]) -> list[Comparison | None]:
    """Return the comparisons with the best of m settings with p corrected as those of all m (m - 1) / 2 pairs.

    Holm 1979: `max over smaller p of (pairs - rank) p`. Which setting is the best is read from the same numbers, so
    that each pair may be the one that is looked at: corrected for the m - 1 comparisons alone, 8 to 18 % of sweeps
    whose settings are all as good would call one of them worse.
    """
    tested = sorted(((k, one) for k, one in enumerate(found) if one is not None), key=lambda pair: pair[1].p)
    pairs = math.comb(len(tested) + 1, 2)
    corrected, largest = list(found), 0.0
    for rank, (number, one) in enumerate(tested):
        largest = max(largest, min(1.0, (pairs - rank) * one.p))
        corrected[number] = replace(one, p=largest)
    return corrected


def undominated(points: Sequence[Sequence[float | None]], directions: Sequence[str]) -> list[bool]:
    """Whether no other point is as good in every number and better in one: the Pareto front. None: it isn't known.

    directions: `maximize` or `minimize`, for each number.
    """
    signs = [1.0 if direction == "maximize" else -1.0 for direction in directions]
    whole = {
        k: [s * (x or 0.0) for s, x in zip(signs, p, strict=True)] for k, p in enumerate(points) if None not in p
    }
    beaten = {k for k, p in whole.items() for o in whole.values() if o != p and all(map(float.__ge__, o, p))}
    return [k in whole and k not in beaten for k in range(len(points))]
