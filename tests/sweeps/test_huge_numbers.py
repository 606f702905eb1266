"""Metrics whose squares are no numbers are compared all the same."""

from __future__ import annotations

import pytest

from gradloop.sweeps.results.statistics import compare, spread


def test_huge_metrics_have_a_mean_and_a_test():
    assert spread([1e300, 2e300]).mean == pytest.approx(1.5e300)
    assert spread([1e300, 2e300]).std == pytest.approx(0.7071e300, rel=1e-3)
    small = compare({1: 1.0, 2: 1.1}, {3: 3.0, 4: 3.3})
    huge = compare({1: 1.0e200, 2: 1.1e200}, {3: 3.0e200, 4: 3.3e200})
    assert huge.p == pytest.approx(small.p)
    assert huge.difference == pytest.approx(small.difference * 1e200)
