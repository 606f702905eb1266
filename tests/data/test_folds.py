"""Folds: every sample is held out once, with the classes' shares; and weighted sampling."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from folders_for_tests import draw
from gradloop.data.batches import epoch_order
from gradloop.data.splitting import fold_rows, split_table
from gradloop.errors import DataError
from gradloop.runs.record import read_record
from gradloop.sweeps.sweep_folder import read_sweep

SMALL = ("model.hidden_dims=[4]", "trainer.max_epochs=1")


def test_every_row_is_in_one_fold_and_classes_keep_their_shares():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    held = [fold_rows(100, 5, fold, seed=0, labels=labels)[1] for fold in range(5)]
    assert sorted(np.concatenate(held)) == list(range(100))
    assert all(np.bincount(labels[rows]).tolist() == [10, 6, 4] for rows in held)


def test_a_group_is_in_one_part_alone():
    groups, labels = np.arange(120) // 4, np.arange(120) % 2
    for folds in ({}, {"folds": 4, "fold": 1}):
        parts = split_table(
            120, test_fraction=0.2, val_fraction=0.2, random_state=0, labels=labels, groups=groups, **folds
        )
        seen = [set(groups[rows]) for rows in parts.values()]
        assert sum(map(len, seen)) == len(set.union(*seen)) == 30


def test_what_is_tested_comes_after_what_is_learned():
    times = np.random.default_rng(0).permutation(100) // 2
    for folds in ({}, {"folds": 4, "fold": 0}, {"folds": 4, "fold": 3}):
        parts = split_table(100, test_fraction=0.2, val_fraction=0.2, random_state=0, times=times, **folds)
        assert times[parts["train"]].max() < times[parts["val"]].min()
        assert times[parts["val"]].max() <= times[parts["test"]].min()


def test_folds_under_m_are_one_setting(tmp_path, command):
    ended = command(
        "-m", "data=digits", "folds=3", "optimizer.lr=1e-2,1e-4", "seed=3", "callbacks.curves=null", *SMALL
    )
    assert ended.code == 0, ended.err
    (folder,) = (tmp_path / "here" / "outputs" / "sweeps").iterdir()
    sweep = read_sweep(folder)
    assert len(sweep.jobs) == 6
    records = [read_record(sweep.job_folder(job)) for job in sweep.jobs]
    assert [record["data"]["folds"] for record in records[:3]] == [{"folds": 3, "fold": k} for k in range(3)]
    assert sum(record["data"]["samples"]["test"] for record in records[:3]) == 1797
    rows = list(csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()))
    assert [(row["optimizer.lr"], row["n"]) for row in rows] == [("0.01", "3"), ("0.0001", "3")]
    assert "different data" not in ended.out + (folder / "leaderboard.md").read_text()


def test_folds_of_pictures_one_of_them_alone(tmp_path, train):
    for index in range(20):
        draw(tmp_path / "pictures" / "red" / f"{index}.png", (150 + index, 0, 0))
        draw(tmp_path / "pictures" / "blue" / f"{index}.png", (0, 0, 150 + index))
    given = [f"data.root={tmp_path / 'pictures'}", f"data.cache_dir={tmp_path / 'cache'}", "data.batch_size=4"]
    record = train("data=image_folder", *given, "folds=4", "data.fold=2", "seed=0", *SMALL)
    assert record["data"]["samples"] == {"train": 27, "val": 3, "test": 10}
    assert record["data"]["folds"] == {"folds": 4, "fold": 2}


def test_balanced_sampling_shows_every_class_equally_often():
    weights = torch.tensor([1 / 900] * 900 + [1 / 100] * 100, dtype=torch.float64)
    order = epoch_order(1000, seed=0, epoch=0, shuffle=True, weights=weights)
    assert 430 < int((order >= 900).sum()) < 570
    assert torch.equal(order, epoch_order(1000, seed=0, epoch=0, shuffle=True, weights=weights))
    assert not torch.equal(order, epoch_order(1000, seed=0, epoch=1, shuffle=True, weights=weights))
    only = epoch_order(1000, seed=0, epoch=0, shuffle=True, weights=torch.eye(1000, dtype=torch.float64)[7])
    assert set(only.tolist()) == {7}


@pytest.mark.parametrize("sampling", ["balanced", "[1,0]"])
def test_sampling_by_the_command(sampling, train):
    record = train(f"data.sampling={sampling}", "seed=0", *SMALL)
    assert record["status"] == "completed"


def test_data_that_know_no_folds_are_not_cross_validated(train, tmp_path, monkeypatch):
    (tmp_path / "their_data.py").write_text(
        "import torch\nfrom gradloop.data.data_module import DataModule\nfrom gradloop.data.batches import Split\n"
        "class Same(DataModule):\n"
        "    input_shape, num_outputs, task = (2,), 2, 'multiclass'\n"
        "    def __init__(self, *, batch_size=8, seed=0, **knobs):\n"
        "        super().__init__(batch_size=batch_size, seed=seed, **knobs)\n"
        "    def load(self):\n"
        "        split = Split(torch.rand(32, 2), torch.arange(32) % 2)\n"
        "        return {'train': split, 'val': split, 'test': split}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=r"data\.fold=1: Same\.load does not look at self\.fold"):
        train("data._target_=their_data.Same", "folds=3", "data.fold=1", "trainer.max_epochs=1")
