"""How many runs are trained as one where a process may open few files."""

from __future__ import annotations

import pytest

from gradloop.runs.planning import plan
from gradloop.training.population.as_one import fits

resource = pytest.importorskip("resource")


def test_as_many_runs_at_once_as_there_may_be_open_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = plan(["experiment=synthetic_classification", "seed=0"], None, "train")
    most = {}
    for soft in (256, 1024, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        why, most[soft] = fits(config, exact=True)
        assert why is None
    assert most[256] == 96
    assert most[1024] == 480
    assert most[resource.RLIM_INFINITY] > 1000
