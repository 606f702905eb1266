"""The debug configs: each on every data set that needs no download."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradloop
from gradloop.callbacks.gradcheck import GradCheck, GradientError
from gradloop.runs.record import read_record

SLOW = pytest.mark.slow
DATA = ["digits", "synthetic_classification", "linear_regression"]
QUIET = ["seed=0", "callbacks.tensorboard=null", "callbacks.progress=null", "callbacks.curves=null"]


def train(folder: Path, *overrides: str) -> dict[str, Any]:
    return gradloop.train([*QUIET, f"output_dir={folder}", *overrides])


@pytest.mark.parametrize("data", DATA)
def test_gradcheck_agrees_with_autograd(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, "debug=gradcheck", f"data={data}", "model.dropout=0.5")
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.endswith(("ok", "WRONG"))]
    assert len(lines) == 4  # a line for each weight tensor
    assert all(line[-1] == "ok" and float(line[-2]) < 1e-6 for line in lines)


class Doubled(torch.autograd.Function):
    """The identity, with a backward pass that is wrong by a factor of two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


def test_gradcheck_finds_a_wrong_backward_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: Doubled.apply(x.clamp(min=0)))
    with pytest.raises(GradientError, match=r"autograd deviates from finite differences in .*weight") as caught:
        train(tmp_path, "debug=gradcheck", "data=synthetic_classification")
    assert caught.value.exit_code == 5
    (folder,) = (tmp_path / "train").iterdir()
    assert read_record(folder)["exit_code"] == 5


@SLOW
def test_gradcheck_leaves_the_training_as_it_is(tmp_path: Path) -> None:
    options = ["data=digits", "model.dropout=0.5", "trainer.max_epochs=1"]
    assert train(tmp_path, "debug=gradcheck", *options)["metrics"] == train(tmp_path, *options)["metrics"]


def test_gradcheck_takes_batch_norm_and_convolutions() -> None:
    torch.manual_seed(0)

    class Module:
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3),
        )  # fmt: skip
        loss = nn.CrossEntropyLoss()

    pictures = torch.zeros(4, 1, 8, 8)  # nothing but kinks, were the inputs not moved a little
    check = GradCheck(samples=4, entries=5)
    assert check.compare(Module, pictures, torch.tensor([0, 1, 2, 0])) == []
    assert max(check.deviations.values()) < 1e-6


@pytest.mark.parametrize("data", ["digits", *(pytest.param(name, marks=SLOW) for name in DATA[1:])])
def test_one_batch_can_be_learned_by_heart(data: str, tmp_path: Path) -> None:
    record = train(tmp_path, "debug=overfit", f"data={data}", "logger=none")
    # a line through five noisy points leaves their noise; the others get to zero
    assert record["metrics"]["train/loss"] < (0.1 if data == "linear_regression" else 0.005)
    assert "test/loss" not in record["metrics"]


@pytest.mark.parametrize("data", DATA)
def test_fast_dev_run_takes_one_step_and_saves_nothing(data: str, tmp_path: Path) -> None:
    record = train(tmp_path, "debug=fast_dev_run", f"data={data}")
    assert record["epochs"] == 1
    assert {"train/loss", "val/loss", "test/loss"} <= record["metrics"].keys()
    assert not (Path(record["folder"]) / "checkpoints").exists()


@pytest.mark.parametrize("data", ["digits", *(pytest.param(name, marks=SLOW) for name in DATA[1:])])
def test_the_profile_is_a_chrome_trace(data: str, tmp_path: Path) -> None:
    record = train(
        tmp_path, "debug=profile", f"data={data}", "callbacks.profile.steps=5", "callbacks.checkpoints=null"
    )
    folder = Path(record["folder"]) / "profile"
    events = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))["traceEvents"]
    assert sum("addmm" in event.get("name", "") for event in events) >= 5
    assert sorted(path.name for path in folder.iterdir()) == ["operators.txt", "trace.json.gz"]
    assert "optimizer steps from step" in (folder / "operators.txt").read_text()
