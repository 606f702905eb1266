"""Weights of classes in the loss, and metrics of one's own: by the command, from the record to the evaluation."""

from __future__ import annotations

import csv
import textwrap
from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.config.signature import signature
from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.record import read_record
from one_line import assert_one_line

QUICK = ["seed=1", "trainer.max_epochs=2", "logger=none", "callbacks.progress=null", "callbacks.curves=null"]
KAPPA = "metrics.kappa._target_=torchmetrics.CohenKappa"
CODE = """
    import torch
    from torch import nn
    from torchmetrics import Metric
    from gradloop.data.batches import Split
    from gradloop.data.data_module import DataModule

    class Rare(DataModule):
        input_shape, num_outputs, task = (2,), 3, "multiclass"
        def __init__(self, *, batch_size=10, seed=0, kind="multiclass"):
            super().__init__(batch_size=batch_size, seed=seed)
            self.task = kind
            self.num_outputs = 1 if kind == "binary" else 3
        def load(self):
            g = torch.Generator().manual_seed(0)
            return {part: self.part(g) for part in ("train", "val", "test")}
        def part(self, g):
            classes = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
            x = torch.randn(100, 2, generator=g) + classes[:, None]
            if self.task == "binary":
                return Split(x, (classes == 2).float()[:, None])
            if self.task == "multilabel":
                return Split(x, torch.nn.functional.one_hot(classes, 3).float())
            return Split(x, classes)

    class Focal(nn.Module):
        def __init__(self, weight=None):
            super().__init__()
            self.weight = weight
        def forward(self, outputs, targets):
            return self.weight * nn.functional.cross_entropy(outputs, targets)

    class Broken(Metric):
        higher_is_better = None
        def __init__(self, fails=64):
            super().__init__()
            self.fails = fails
            self.add_state("seen", torch.tensor(0.0), dist_reduce_fx="sum")
        def update(self, outputs, targets):
            if len(targets) >= self.fails:
                raise RuntimeError("it is full")
            self.seen += len(targets)
        def compute(self):
            return self.seen
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "own_rare.py").write_text(textwrap.dedent(CODE))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_rare", raising=False)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("multiclass", "weight", [100 / 180, 100 / 90, 100 / 30]),
        ("binary", "pos_weight", [9.0]),
        ("multilabel", "pos_weight", [40 / 60, 70 / 30, 9.0]),
    ],
)
def test_balanced_weighs_by_the_training_part_and_evaluates_the_same(kind, name, expected, command, own):
    lines = ["data._target_=own_rare.Rare", f"+data.kind={kind}", "loss.weight=balanced", *QUICK]
    ended = command(*lines, "hydra.run.dir=r")
    assert ended.code == 0, ended.err
    record = read_record(Path("r"))
    assert record["data"]["class_weights"] == pytest.approx(expected)
    loss = gradloop.load("r", allow=("own_rare",)).loss
    torch.testing.assert_close(getattr(loss, name), torch.tensor(expected))
    assert not [n for n in read_checkpoint(Path("r/checkpoints/best.ckpt"))["state_dict"] if n.startswith("loss")]
    ended = command("run=r", "allow=[own_rare]", program="evaluate")
    assert ended.out.count("as in training") == len([n for n in record["metrics"] if n.startswith("test/")]), (
        ended.out
    )
    ended = command("resume=r", "trainer.max_epochs=3", "allow=[own_rare]")
    assert ended.code == 0, ended.err


def test_a_list_is_what_torch_makes_of_it(train):
    weights = [1.0, 2.0, 3.0]
    lines = ["data=synthetic_classification", "data.classes=3", "data.informative=3", "loss.weight=[1,2,3]"]
    lines += [line for line in QUICK if not line.startswith(("logger", "callbacks"))]
    record = train(*lines)
    module = gradloop.load(record["folder"])
    torch.testing.assert_close(module.loss.weight, torch.tensor(weights))
    plain = train(*[line for line in lines if not line.startswith("loss")])
    even = train(*[line.replace("[1,2,3]", "[1,1,1]") for line in lines])
    assert even["metrics"] == pytest.approx(plain["metrics"], rel=1e-5)
    assert record["metrics"]["val/loss"] != plain["metrics"]["val/loss"]


def test_a_loss_of_ones_own_may_call_a_number_its_weight(command, own):
    ended = command("data._target_=own_rare.Rare", "loss._target_=own_rare.Focal", "loss.weight=0.5", *QUICK)
    assert ended.code == 0, ended.err
    ended = command("data._target_=own_rare.Rare", "loss._target_=own_rare.Focal", "loss.weight=zzz", *QUICK)
    assert_one_line(ended, 2, ["loss.weight=zzz", "balanced"])


def test_own_metrics_stand_wherever_ours_do(command):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines = [line for line in QUICK if not line.startswith(("logger", "callbacks.curves"))]
    worst = "+metrics.hinge._target_=torchmetrics.HingeLoss"
    ended = command("data=digits", KAPPA, worst, "monitor=val/kappa", *lines, "hydra.run.dir=r")
    assert ended.code == 0, ended.err
    record = read_record(Path("r"))
    assert record["monitor"] == {"metric": "val/kappa", "mode": "max"}
    names = {f"{part}/{name}" for part in ("train", "val", "test") for name in ("kappa", "hinge")}
    assert names <= record["metrics"].keys()
    with open("r/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert max(float(row["val/kappa"]) for row in rows) == pytest.approx(record["metrics"]["val/kappa"])
    events = EventAccumulator(str(next(Path("r").rglob("events.*")).parent))
    events.Reload()
    assert "metric/kappa/val" in events.Tags()["scalars"]
    module = gradloop.load("r")
    ended = command("run=r", "predictions=true", program="evaluate")
    assert ended.out.count("as in training") == 6, ended.out  # loss, accuracy, f1, auroc, kappa, hinge
    with open("r/predictions.csv") as file:
        said = list(csv.DictReader(file))
    from sklearn.metrics import cohen_kappa_score

    expected = cohen_kappa_score([row["target"] for row in said], [row["predicted"] for row in said])
    assert record["metrics"]["test/kappa"] == pytest.approx(expected, abs=1e-6)
    assert not [name for name in module.state_dict() if "kappa" in name]


@pytest.mark.slow
def test_the_leaderboard_has_them_and_each_run_trains_alone(command):
    lines = ["data=digits", "trainer.max_epochs=1", "-m", "seed=1,2", "monitor=val/hinge", "logger=none"]
    worst = "+metrics.hinge._target_=torchmetrics.HingeLoss"
    ended = command(*lines, worst, "hydra.sweep.dir=s")
    assert ended.code == 0, ended.err
    assert "metrics.hinge: a stack measures none of your own" in ended.out
    assert read_record(Path("s/0"))["monitor"]["mode"] == "min"
    table = next(Path("s").glob("leaderboard*.csv")).read_text().splitlines()[0]
    assert "val/hinge" in table
    assert "test/hinge" in table
    ended = command(*lines[:4], "loss.weight=balanced", "hydra.sweep.dir=w", "logger=none")
    assert "loss.weight=balanced: a stack does not weigh classes" in ended.out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("data=linear_regression loss.weight=balanced", ["loss.weight=balanced", "regression"]),
        ("data=linear_regression loss.weight=[1,2]", ["loss.weight=[1, 2]", "regression"]),
        ("data=digits loss.weight=[1,2]", ["loss.weight=[1, 2]", "10 weights"]),
        ("data=digits loss.weight=[0,0,0,0,0,0,0,0,0,0]", ["loss.weight", "not all 0"]),
        (
            "data=synthetic_classification data.task=binary loss.weight=[1,2]",
            ["loss.weight=[1, 2]", "1 weight, of a"],
        ),
        ("data=digits loss.weight=0.5", ["loss.weight=0.5", "list"]),
        ("data=digits loss.weight=[-1]", ["loss.weight=[-1]", "0 or more"]),
        ("data=digits loss.weight=blanced", ["loss.weight=blanced", "balanced"]),
        ("data=digits loss._target_=torch.nn.functional.cross_entropy loss.weight=balanced", ["function"]),
        ("data=digits +metrics.x._target_=torch.nn.Linear", ["metrics.x._target_", "torchmetrics.Metric"]),
        ("data=digits +metrics.x=3", ["metrics.x=3", "_target_"]),
        ("data=digits metrics=3", ["metrics"]),
        ("data=digits +metrics.x._target_=torchmetrics.CohenKapa", ["metrics.x", "CohenKappa"]),
        ("data=digits +metrics.mse._target_=torchmetrics.MeanSquaredError", ["metrics.mse", "multiclass"]),
        ("data=linear_regression +metrics.x._target_=torchmetrics.Accuracy", ["metrics.x", "regression"]),
        (
            "data=digits +metrics.x._target_=torchmetrics.Accuracy +metrics.x.average=none",
            ["metrics.x", "10 numbers", "average=macro"],
        ),
        ("data=digits +metrics.accuracy._target_=torchmetrics.CohenKappa", ["metrics.accuracy", "another name"]),
        ("data=digits +metrics.x={_target_:own_rare.Broken,fails:1} allow=[own_rare]", ["metrics.x", "it is full"]),
        (
            "data=digits +metrics.x={_target_:own_rare.Broken,fails:9999} monitor=val/x allow=[own_rare]",
            ["val/x", "monitor_mode"],
        ),
        (f"data=digits {KAPPA} monitor=val/kapa", ["monitor=val/kapa", "val/kappa"]),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_can_not_be_is_one_line(line, words, command, own):
    assert_one_line(command(*line.split(), "trainer.max_epochs=1", "hydra.run.dir=r"), 2, words)


def test_a_metric_that_fails_in_the_run_is_one_line(command, own):
    ended = command("data=digits", "+metrics.x._target_=own_rare.Broken", *QUICK)
    assert ended.code == 2
    assert ended.err.count("\n") == 1, ended.err
    assert "metrics.x: Broken does not measure multiclass data: RuntimeError: it is full" in ended.err


def test_old_runs_keep_their_signatures():
    old = {"loss": {"_target_": None}, "seed": 0}
    assert signature(old) == signature({"loss": {"_target_": None, "weight": None}, "seed": 0, "metrics": {}})
    assert signature(old) != signature(old | {"loss": {"_target_": None, "weight": "balanced"}})


def test_equal_weights_change_nothing_where_classes_are_mixed():
    from torch import nn

    from gradloop.training.means import mean_of_weights

    generator = torch.Generator().manual_seed(0)
    outputs, classes = torch.randn(8, 3, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    shares = nn.functional.one_hot(classes, 3).float()
    mixed = 0.7 * shares + 0.3 * shares.flip(0)
    plain, ten = nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=torch.full((3,), 10.0))
    torch.testing.assert_close(ten(outputs, mixed) * mean_of_weights(ten, mixed), plain(outputs, mixed))
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.0, 10.0]))  # as of classes, where none is mixed
    torch.testing.assert_close(loss(outputs, shares) * mean_of_weights(loss, shares), loss(outputs, classes))
