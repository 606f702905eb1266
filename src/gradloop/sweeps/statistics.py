"""Mean, spread and significance over seeds: how a leaderboard tells a winner from a lucky draw."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TIE_LEVEL = 0.05  # two settings tie when p is above it


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
        decimals = 4 if self.std < 1e-9 else min(6, max(0, 1 - math.floor(math.log10(self.std))))
        return f"{self.mean:.{decimals}f} ± {self.std:.{decimals}f}"


def spread(values: Iterable[float | None]) -> Spread:
    """Return mean and sample standard deviation `sqrt(Σ (x - mean)² / (n - 1))` of the finite values."""
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    n = len(finite)
    if n == 0:
        return Spread(None, None, 0)
    mean = math.fsum(finite) / n
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / (n - 1)) if n > 1 else None
    return Spread(mean, std, n)


@dataclass(frozen=True)
class Comparison:
    p: float
    test: str  # "paired t-test" | "Welch's t-test"

    @property
    def tie(self) -> bool:
        return self.p > TIE_LEVEL


def compare(best: Mapping[Any, float], other: Mapping[Any, float]) -> Comparison | None:
    """Two-sided test of "both settings have the same mean", from `{seed: value}` of each.

    Settings that share at least two seeds are compared seed by seed (paired t-test over the shared
    seeds): a seed fixes data, split and initial weights, so what is easy for one setting is easy for the
    other and pairing takes that common part out. Otherwise Welch's t-test, which assumes neither equal
    spreads nor equal counts. One run a setting has no spread to compare a difference with: None.
    p is not corrected for the number of settings, and the best of many is partly luck: more seeds help.
    """
    shared = sorted(best.keys() & other.keys(), key=str)
    if len(shared) >= 2:
        differences = [best[seed] - other[seed] for seed in shared]
        if max(differences) - min(differences) <= 1e-12 * max(1.0, *map(abs, differences)):
            return Comparison(1.0 if abs(differences[0]) <= 1e-12 else 0.0, "paired t-test")
        paired = [best[seed] for seed in shared], [other[seed] for seed in shared]
        return Comparison(_p("ttest_rel", *paired), "paired t-test")
    if len(best) < 2 or len(other) < 2:
        return None
    left, right = list(best.values()), list(other.values())
    if len(set(left)) == 1 and len(set(right)) == 1:
        return Comparison(1.0 if left[0] == right[0] else 0.0, "Welch's t-test")
    return Comparison(_p("ttest_ind", left, right, equal_var=False), "Welch's t-test")


def _p(test: str, left: list[float], right: list[float], **options: Any) -> float:
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of nearly equal values; p is still right
        return float(getattr(stats, test)(left, right, **options).pvalue)
