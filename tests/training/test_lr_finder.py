"""The learning-rate finder beside schedules that have rates of their own, and losses below zero."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradloop.runs.history import read_history
from small_runs import train

FINDER = [
    "data=digits",
    "optimizer=sgd",
    "callbacks=lr_finder",
    "callbacks.lr_finder.steps=40",
    "trainer.max_epochs=2",
]
CYCLIC = ["scheduler._target_=torch.optim.lr_scheduler.CyclicLR", "scheduler.base_lr=1e-4", "scheduler.max_lr=1e-3"]


def test_where_the_schedule_names_the_highest_rate_that_is_found(tmp_path: Path) -> None:
    record = train(tmp_path, *FINDER, "scheduler=one_cycle", "scheduler.max_lr=0.05")
    rate = record["found"]["scheduler.max_lr"]
    again = train(tmp_path, *FINDER[:2], "trainer.max_epochs=2", "scheduler=one_cycle", f"scheduler.max_lr={rate}")
    rates, expected = ([row["lr"] for row in read_history(Path(run["folder"]))] for run in (record, again))
    assert rates == pytest.approx(expected)
    assert record["metrics"] == pytest.approx(again["metrics"], abs=1e-4)


@pytest.mark.parametrize(
    ("schedule", "other"),
    [(CYCLIC, "scheduler.base_lr"), (["scheduler=cosine", "scheduler.eta_min=1e-3"], "scheduler.eta_min")],
    ids=["cyclic", "cosine"],
)
def test_a_schedule_s_other_rates_keep_their_ratio(schedule: list[str], other: str, tmp_path: Path) -> None:
    record = train(tmp_path, *FINDER, *schedule)  # both begin with a tenth of the highest rate
    ((key, rate),) = record["found"].items()
    given = [f"{key}={rate}", f"{other}={rate / 10}"]
    again = train(tmp_path, *FINDER[:2], "trainer.max_epochs=2", *schedule, *given)
    rates, expected = ([row["lr"] for row in read_history(Path(run["folder"]))] for run in (record, again))
    assert rates == pytest.approx(expected)


def test_a_loss_below_zero_is_searched_too(tmp_path: Path) -> None:
    table = "n,x\n" + "".join(f"{40 + k % 20},{k % 7}\n" for k in range(200))
    (tmp_path / "counts.csv").write_text(table)
    data = ["data=csv", f"data.file={tmp_path}/counts.csv", "data.target=n", "data.task=regression"]
    loss = "loss._target_=torch.nn.PoissonNLLLoss"
    record = train(tmp_path, *data, loss, "callbacks=lr_finder", "trainer.max_epochs=1", "data.batch_size=16")
    assert 0 < record["found"]["optimizer.lr"] < 1
