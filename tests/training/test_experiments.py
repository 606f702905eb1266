"""The experiments against plain PyTorch, written out: the framework adds nothing to the mathematics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn

from gradloop.runs.checkpoint_files import read_checkpoint
from saved_weights import weights_of


def assert_same(run, network, tolerance=1e-6):
    trained = weights_of(run)
    expected = network.state_dict()
    assert trained.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(trained[name], weight, rtol=0, atol=tolerance)


def test_linear_regression(train):
    run = train("experiment=linear_regression", "seed=7")

    generator = torch.Generator().manual_seed(42)
    x = torch.arange(5.0).unsqueeze(1)
    y = 2 * x + torch.rand(5, 1, generator=generator)
    torch.manual_seed(7)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    criterion = nn.MSELoss()
    for _ in range(1001):
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert_same(run, model)
    assert run["metrics"]["train/loss"] == pytest.approx(loss.item(), abs=1e-6)
    assert run["epochs"] == 1001
    # and it finds the line: y = 2x + U(0, 1) has slope 2 and a mean intercept of ½
    assert model.weight.item() == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("seed", [5, pytest.param(0, marks=pytest.mark.slow)])
def test_synthetic_classification(train, seed):
    run = train("experiment=synthetic_classification", f"seed={seed}")

    inputs, labels = make_classification(n_samples=1000, n_features=20, n_classes=2, random_state=42)
    parts = train_test_split(inputs, labels, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(parts[0])
    x, x_test = (torch.tensor(scaler.transform(part), dtype=torch.float32) for part in parts[:2])
    y, y_test = (torch.tensor(part) for part in parts[2:])
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    criterion = nn.CrossEntropyLoss()
    accuracies = []
    for _ in range(100):
        for start in range(0, 800, 32):
            optimizer.zero_grad()
            criterion(model(x[start : start + 32]), y[start : start + 32]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracies.append(float((model(x_test).argmax(1) == y_test).float().mean()))

    assert_same(run, model)
    assert run["monitor"] == {"metric": "val/accuracy", "mode": "max"}
    assert run["best"]["value"] == pytest.approx(max(accuracies))
    assert run["best"]["epoch"] == int(np.argmax(accuracies)) + 1
    assert run["metrics"]["test/accuracy"] == pytest.approx(max(accuracies))


LOOPS = {
    "shuffled": [],
    "scheduler": ["scheduler=one_cycle", "optimizer=sgd"],
    "dropout": ["model.dropout=0.5", "optimizer=adamw"],
    "epoch scheduler": ["scheduler=step", "scheduler.step_size=1"],
}


@pytest.mark.parametrize("extra", LOOPS.values(), ids=LOOPS.keys())
def test_several_steps_a_turn_equal_one_batch_at_a_time(train, extra):
    arguments = ["data=digits", "seed=5", "trainer.max_epochs=2", "data.batch_size=100", *extra]
    fast = train(*arguments)
    normal = train(*arguments, "trainer.profiler=simple")  # which has to see each batch
    assert all(torch.equal(weights_of(normal)[name], weight) for name, weight in weights_of(fast).items())
    assert fast["metrics"] == normal["metrics"]


def test_equal_seeds_give_equal_weights_and_others_do_not(train):
    arguments = ["trainer.max_epochs=2", "model.dropout=0.2"]
    one, again, other = (weights_of(train(*arguments, f"seed={seed}")) for seed in (0, 0, 1))
    assert all(torch.equal(again[name], weight) for name, weight in one.items())
    assert not any(torch.equal(other[name], weight) for name, weight in one.items())


def test_every_run_records_its_seed(train):
    drawn = train("trainer.max_epochs=1")
    again = train("trainer.max_epochs=1", f"seed={drawn['seed']}")
    assert drawn["metrics"] == again["metrics"]
    assert train("trainer.max_epochs=1", "seed=0")["seed"] == 0


@pytest.mark.parametrize(("drop_last", "steps"), [("false", 4 * 12), ("true", 4 * 11)])
def test_a_linear_schedule_ends_at_zero(train, drop_last, steps):
    knobs = ["scheduler=linear", "optimizer=sgd", "optimizer.lr=0.1", "data.batch_size=100", "trainer.max_epochs=4"]
    run = train("data=digits", "seed=0", f"data.drop_last={drop_last}", *knobs)
    assert run["best"]["step"] <= steps
    rows = read_checkpoint(Path(run["folder"]) / "checkpoints" / "last.ckpt")["gradloop"]["history"]
    assert rows[-1]["step"] == steps
    last = [0.1 * (1 - (step - 1) / steps) for step in range(steps // 4, steps + 1, steps // 4)]  # of each epoch
    assert [row["lr"] for row in rows] == pytest.approx(last)


@pytest.mark.parametrize(
    ("knobs", "rates"),
    [
        (["scheduler=multi_step", "scheduler.milestones=[1]", "scheduler.gamma=0.5"], [0.1, 0.05, 0.05]),
        (["scheduler=one_cycle"], None),
    ],
)
def test_an_epochs_rate_is_that_of_its_last_step(train, knobs, rates):
    run = train("data=digits", "seed=0", "optimizer=sgd", "optimizer.lr=0.1", "trainer.max_epochs=3", *knobs)
    rows = read_checkpoint(Path(run["folder"]) / "checkpoints" / "last.ckpt")["gradloop"]["history"]
    if rates is None:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=rows[-1]["step"])
        used = []
        for _ in range(rows[-1]["step"]):
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step() if len(used) < rows[-1]["step"] else None
        rates = [used[row["step"] - 1] for row in rows]
    assert [row["lr"] for row in rows] == pytest.approx(rates)
