"""The modules around a network: metrics, meters, reproducible randomness, what they hand to Lightning."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

from gradloop.training.means import mean_over_views
from gradloop.training.meter import Meter
from gradloop.training.supervised import Supervised
from gradloop.training.task import Binary, Multiclass, Multilabel, Regression, Task


def classifier(num_outputs: int) -> Task:
    return Binary(1) if num_outputs == 1 else Multiclass(num_outputs)


def regressor() -> Task:
    return Regression(1)


def test_multiclass_metrics_by_hand():
    logits = torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 3, 0], [0, 0, 3]])
    targets = torch.tensor([0, 1, 2, 2])
    measured = classifier(3).measure(logits, targets, None)
    assert measured["accuracy"] == 0.75
    # f1 of the classes: 1, 2·½·1/(½+1), 2·1·½/(1+½)
    assert measured["f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert 0.5 < measured["auroc"] <= 1
    assert list(classifier(3).measure(logits, targets, ["f1"])) == ["f1"]


def test_binary_metrics_by_hand():
    logits, targets = torch.tensor([[-1.0], [2.0], [0.5], [-3.0]]), torch.tensor([[0.0], [1.0], [0.0], [0.0]])
    measured = classifier(1).measure(logits, targets, None)
    assert measured["accuracy"] == 0.75
    assert measured["f1"] == pytest.approx(2 / 3)
    assert measured["auroc"] == 1.0


def test_a_part_with_one_class_only_is_measured_without_a_warning():
    for outputs, targets, count in (
        (torch.randn(4, 1), torch.ones(4, 1), 1),
        (torch.randn(4, 3), torch.zeros(4, dtype=torch.long), 3),
    ):
        measured = classifier(count).measure(outputs, targets, None)
        assert measured.keys() == {"accuracy", "f1"}  # an AUROC of one class says nothing


class Corner(nn.Module):
    def forward(self, inputs):
        return inputs[:, :, 0, 0]


def test_views_at_test_time_by_hand():
    pictures = torch.arange(9.0).reshape(1, 1, 3, 3)  # rows 0 1 2, 3 4 5, 6 7 8
    assert mean_over_views(Corner(), pictures, flip=False, shift=0).item() == 0
    assert mean_over_views(Corner(), pictures, flip=True, shift=0).item() == (0 + 2) / 2
    # reflected around the edge: moved down and right, the corner shows 4; moved up and left, 4 as well
    assert mean_over_views(Corner(), pictures, flip=False, shift=1).item() == 0 / 2 + 4 / 4 + 4 / 4
    # flipped, these two show the other end of their first row: 5 -> 4, 3 -> 4
    assert mean_over_views(Corner(), pictures, flip=True, shift=1).item() == (0 + 2) / 4 + (4 + 4) / 4


def test_views_are_for_evaluation_alone():
    parts = {"network": Corner(), "task": Multiclass(2), "loss": nn.CrossEntropyLoss()}
    module = Supervised(**parts, test_time_flip=True, test_time_shift=1)
    pictures = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert module(pictures).item() == 0
    assert module.eval()(pictures).item() == 2.5


def test_predictions_are_probabilities():
    logits = torch.randn(5, 3)
    torch.testing.assert_close(classifier(3).read(logits).sum(1), torch.ones(5))
    torch.testing.assert_close(classifier(1).read(torch.zeros(2, 1)), torch.full((2, 1), 0.5))
    assert torch.equal(regressor().read(logits), logits)


def test_regression_metrics_by_hand():
    outputs, targets = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[1.0], [3.0], [2.0]])
    measured = regressor().measure(outputs, targets, None)
    assert measured["mae"] == pytest.approx(1.0)
    assert measured["rmse"] == pytest.approx((5 / 3) ** 0.5)
    assert measured["r2"] == pytest.approx(1 - 5 / 2)
    assert "r2" not in regressor().measure(outputs[:1], targets[:1], None)


def test_a_meter_averages_over_samples_not_over_batches():
    meter = Meter()
    meter.add(torch.tensor(1.0), torch.zeros(3, 1), torch.zeros(3, 1))
    meter.add(torch.tensor(5.0), torch.ones(1, 1), torch.ones(1, 1))

    class Alone:
        world_size = 1

    loss, outputs, targets = meter.gather(Alone(), None)
    assert loss == pytest.approx((3 * 1 + 1 * 5) / 4)
    assert outputs.flatten().tolist() == targets.flatten().tolist() == [0, 0, 0, 1]
    again = Meter.from_state(meter.state())
    assert again.gather(Alone(), None)[0] == loss
    assert Meter.from_state(Meter().state()).empty


def test_reported_metrics_are_those_of_the_recorded_weights(train):
    """What the record says of the best epoch is what its weights give on the validation part."""
    import gradloop
    from gradloop.data.synthetic_classification import SyntheticClassification

    run = train("trainer.max_epochs=3", "seed=0")
    module = gradloop.load(run["folder"])
    config = module.recipe["config"]["data"]
    data = SyntheticClassification(**{k: v for k, v in config.items() if k != "_target_"})
    data.setup()
    for part in ("val", "test"):
        split = data.splits[part]
        with torch.no_grad():
            outputs = module(split.inputs)
        accuracy = float((outputs.argmax(1) == split.targets).float().mean())
        assert run["metrics"][f"{part}/accuracy"] == pytest.approx(accuracy)
        loss = float(nn.functional.cross_entropy(outputs, split.targets))
        assert run["metrics"][f"{part}/loss"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    ("overrides", "monitor"),
    [
        (["data=linear_regression"], ("val/loss", "min")),
        (["data.task=binary"], ("val/accuracy", "max")),
        (["trainer.limit_val_batches=0.0"], ("train/accuracy", "max")),
        (["monitor=val/loss"], ("val/loss", "min")),
        (["monitor=val/f1", "epoch_metrics=[f1]"], ("val/f1", "max")),
        (["monitor=val/accuracy", "monitor_mode=min"], ("val/accuracy", "min")),
    ],
)
def test_what_is_monitored_follows_the_task(train, overrides, monitor):
    run = train("trainer.max_epochs=1", "seed=0", *overrides)
    assert (run["monitor"]["metric"], run["monitor"]["mode"]) == monitor
    assert run["best"]["value"] == run["metrics"][monitor[0]]


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["data=digits"], {"accuracy", "f1", "auroc", "loss"}),
        (["data=linear_regression"], {"mae", "rmse", "r2", "loss"}),
    ],
)
def test_the_test_measures_all_that_applies(train, overrides, names):
    run = train("trainer.max_epochs=1", "seed=0", *overrides)
    assert {name for name in run["metrics"] if name.startswith("test/")} == {f"test/{name}" for name in names}


def test_a_scheduler_may_follow_the_monitored_metric(train):
    run = train(
        "scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau",
        "+scheduler.patience=0", "+scheduler.threshold=10.0", "trainer.max_epochs=4", "seed=0",
    )  # fmt: skip
    last = torch.load(Path(run["folder"]) / "checkpoints" / "last.ckpt", weights_only=True)
    # no epoch is better by a factor of 10, so each divides the rate by 10
    assert [row["lr"] for row in last["gradloop"]["history"]][-1] < 1e-4


def test_the_test_part_is_touched_once_at_the_end(train, tmp_path, monkeypatch):
    (tmp_path / "watched.py").write_text(
        "import lightning.pytorch as pl\n"
        "from gradloop.data.digits import Digits\n"
        "SEEN = []\n"
        "class Watched(Digits):\n"
        "    def test_dataloader(self):\n"
        "        SEEN.append('test')\n"
        "        return super().test_dataloader()\n"
        "class Watch(pl.Callback):\n"
        "    def on_train_end(self, *_):\n"
        "        SEEN.append('trained')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    train(
        "data=digits",
        "data._target_=watched.Watched",
        "+callbacks.watch._target_=watched.Watch",
        "trainer.max_epochs=2",
    )
    assert importlib.import_module("watched").SEEN == ["trained", "test"]


def test_auroc_is_the_mean_over_classes_that_occur():
    logits = torch.tensor([[3.0, 0, 1], [2, 1, 0], [0, 3, 1], [1, 2, 0]])
    measured = Multiclass(3).measure(logits, torch.tensor([0, 0, 1, 1]), ["auroc"])
    assert measured == {"auroc": 1.0}
    labels = torch.tensor([[1.0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]])
    outputs = torch.tensor([[2.0, 1, 3], [1, 0, 1], [0, 2, 2], [-1, 0, 0]])
    assert Multilabel(3).measure(outputs, labels, ["auroc"]) == {"auroc": 1.0}
