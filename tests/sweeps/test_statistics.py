from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gradloop.sweeps.statistics import compare, spread


def test_spread_is_the_sample_standard_deviation():
    values = [0.91, 0.93, 0.97]
    got = spread(values)
    assert (got.mean, got.n) == (pytest.approx(np.mean(values)), 3)
    assert got.std == pytest.approx(np.std(values, ddof=1))


def test_spread_leaves_out_what_is_no_number():
    assert spread([None, float("nan"), 0.5]).n == 1
    assert spread([0.5]).std is None
    assert spread([]).mean is None
    assert str(spread([])) == ""


def test_shared_seeds_are_compared_in_pairs():
    best, other = {0: 0.90, 1: 0.80, 2: 0.70}, {0: 0.889, 1: 0.791, 2: 0.688}
    paired = compare(best, other)
    assert paired.test == "paired t-test"
    assert paired.p == pytest.approx(stats.ttest_rel([0.9, 0.8, 0.7], [0.889, 0.791, 0.688]).pvalue)
    assert not paired.tie  # the seeds differ a lot, the difference within a seed hardly does


def test_different_seeds_are_compared_by_welch():
    unpaired = compare({0: 0.90, 1: 0.80, 2: 0.70}, {3: 0.889, 4: 0.791, 5: 0.688})
    assert unpaired.test == "Welch's t-test"
    assert unpaired.tie


def test_one_run_allows_no_claim():
    assert compare({0: 0.9}, {0: 0.1}) is None
    assert compare({0: 0.9, 1: 0.9}, {0: 0.1}) is None


@pytest.mark.parametrize("seeds", [(0, 1), (2, 3)])
def test_equal_and_constantly_different_values_have_a_p(seeds):
    best = {0: 0.5, 1: 0.5}
    assert compare(best, dict.fromkeys(seeds, 0.5)).tie
    assert not compare(best, dict.fromkeys(seeds, 0.4)).tie


def test_false_alarms_are_as_rare_as_the_level_says():
    draw = np.random.default_rng(0)
    worse = sum(not compare(dict(enumerate(draw.normal(size=5))), dict(enumerate(draw.normal(size=5)))).tie
                for _ in range(300))  # fmt: skip
    assert worse / 300 < 0.10
