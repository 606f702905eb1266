from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gradloop.sweeps.results.statistics import compare, holm, spread, undominated


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
    assert paired.decided  # the seeds differ a lot, the difference within a seed hardly does


def test_different_seeds_are_compared_by_welch():
    unpaired = compare({0: 0.90, 1: 0.80, 2: 0.70}, {3: 0.889, 4: 0.791, 5: 0.688})
    assert unpaired.test == "Welch's t-test"
    assert not unpaired.decided


def test_one_run_allows_no_claim():
    assert compare({0: 0.9}, {0: 0.1}) is None
    assert compare({0: 0.9, 1: 0.9}, {0: 0.1}) is None


@pytest.mark.parametrize("seeds", [(0, 1), (2, 3)])
def test_equal_and_constantly_different_values_have_a_p(seeds):
    best = {0: 0.5, 1: 0.5}
    assert not compare(best, dict.fromkeys(seeds, 0.5)).decided
    assert not compare(
        best, dict.fromkeys(seeds, 0.4)
    ).decided  # of two seeds, both may be one step of the metric off
    assert compare(best, dict.fromkeys(seeds, 0.4), step=1e-3).decided


def test_equal_differences_of_many_seeds_are_no_chance():
    best, other = (dict.fromkeys(range(5), value) for value in (0.5, 0.4))
    assert compare(best, other).decided
    assert compare(best, {key + 9: value for key, value in other.items()}).decided


@pytest.mark.parametrize(
    ("rows", "seeds", "settings", "redrawn"), [(64, 2, 2, 0.1), (160, 2, 6, 0.05), (64, 3, 6, 0.1)]
)
def test_accuracies_of_equally_good_settings_are_seldom_called_worse(rows, seeds, settings, redrawn):
    draw = np.random.default_rng(0)

    def a_sweep():
        right = draw.random((seeds, rows)) < 0.9  # by the seed alone, but for some rows that each setting redraws
        chosen = [
            np.where(draw.random(right.shape) < redrawn, draw.random(right.shape) < 0.9, right)
            for _ in range(settings)
        ]
        values = sorted((dict(enumerate(one.mean(1))) for one in chosen), key=lambda one: -sum(one.values()))
        found = holm([compare(values[0], other, step=1 / rows) for other in values[1:]])
        return any(one.decided and one.difference < 0 for one in found)

    assert sum(a_sweep() for _ in range(400)) / 400 < 0.06


def test_false_alarms_are_as_rare_as_the_level_says():
    draw = np.random.default_rng(0)
    worse = sum(compare(dict(enumerate(draw.normal(size=5))), dict(enumerate(draw.normal(size=5)))).decided
                for _ in range(300))  # fmt: skip
    assert worse / 300 < 0.10


def test_intervals_are_those_of_scipy():
    best, other = {0: 0.90, 1: 0.80, 2: 0.70}, {0: 0.889, 1: 0.791, 2: 0.688}
    for keys, test in ((0, "ttest_rel"), (3, "ttest_ind")):
        got = compare(best, {key + keys: value for key, value in other.items()})
        options = {"equal_var": False} if keys else {}
        known = getattr(stats, test)(list(other.values()), list(best.values()), **options)
        ends = known.confidence_interval()
        assert (got.p, got.low, got.high) == pytest.approx((known.pvalue, ends.low, ends.high))


def test_folds_share_training_data_so_less_is_certain():
    best, other = {(k, 0): 0.9 + 0.01 * k for k in range(5)}, {(k, 0): 0.88 + 0.013 * k for k in range(5)}
    plain, corrected = compare(best, other), compare(best, other, folds=5)
    differences = np.array([other[k] - best[k] for k in best])
    t = differences.mean() / np.sqrt((1 / 5 + 1 / 4) * differences.var(ddof=1))  # Nadeau & Bengio 2003
    assert corrected.p == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert corrected.p > plain.p
    assert corrected.test == "corrected resampled t-test"


def test_seeds_of_one_fold_are_no_repetitions_of_their_own():
    differences = [0.10, 0.20, 0.30, 0.05]
    many = [{(k, s): d * side for k, d in enumerate(differences) for s in range(5)} for side in (0, 1)]
    once = [{(k, 0): d * side for k, d in enumerate(differences)} for side in (0, 1)]
    one, five = compare(*once, folds=4), compare(*many, folds=4)
    assert (five.n, five.of, five.higher) == (4, 4, 4)
    assert (five.p, five.low, five.high) == pytest.approx((one.p, one.low, one.high))
    assert one.p > 0.1
    many[0][(0, 9)] = 100.0  # a seed that only one of them has
    assert compare(*many, folds=4).p == pytest.approx(one.p)


@pytest.mark.parametrize(("settings", "seeds"), [(6, 3), (10, 5)])
def test_of_settings_that_are_all_as_good_one_sweep_in_twenty_at_most_calls_one_worse(settings, seeds):
    draw, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        values = draw.normal(size=(settings, seeds)) + draw.normal(size=seeds)
        best, *others = sorted(values.tolist(), key=sum, reverse=True)
        found = holm([compare(dict(enumerate(best)), dict(enumerate(other))) for other in others])
        wrong += any(one.decided for one in found)
    assert 0 < wrong / 400 < 0.05


def test_holm_is_that_of_its_paper():
    draw = np.random.default_rng(1)
    best = {k: float(v) for k, v in enumerate(draw.normal(size=5))}
    found = [
        compare(best, {k: v + s + 0.1 * float(draw.normal()) for k, v in best.items()}) for s in (0, 0.1, 0.3, 1)
    ]
    raw = [one.p for one in found]
    order = np.argsort(raw)
    pairs = 10  # of five settings
    expected = np.minimum(1, np.maximum.accumulate([(pairs - r) * raw[k] for r, k in enumerate(order)]))
    assert [holm(found)[k].p for k in order] == pytest.approx(list(expected))
    assert holm([None, found[0]])[0] is None


def test_what_no_other_beats_in_everything_is_the_front():
    points = [[0.9, 2.0], [0.8, 1.0], [0.8, 2.0], [None, 0.1], [0.9, 2.0]]
    assert undominated(points, ["maximize", "minimize"]) == [True, True, False, False, True]
    assert undominated([], ["maximize"]) == []


def test_folds_count_once_whatever_their_seeds():
    """Folds are the same rows for both: their means are compared, corrected, also where no seed is shared."""
    best = {(fold, seed): 0.5 + 0.1 * fold + 0.01 * seed for fold in range(3) for seed in range(8)}
    other = {(fold, seed + 20): value + 0.05 + 0.02 * fold for (fold, seed), value in best.items()}
    found = compare(best, other, folds=3)
    assert (found.test, found.n) == ("corrected resampled t-test", 3)
    assert found.difference == pytest.approx(0.07)
    assert compare({(0, 1): 0.5, (1, 1): 0.6}, {(2, 1): 0.5, (3, 1): 0.6}, folds=4) is None  # other rows
