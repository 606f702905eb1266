"""Whatever a run computes in, its losses are measured in float32: in bf16, they would tie."""

from __future__ import annotations

import csv
from pathlib import Path

import torch


def test_losses_of_a_bf16_run_are_no_bf16_numbers(train) -> None:
    record = train("data=digits", "trainer.precision=bf16-mixed", "trainer.max_epochs=3", "seed=0",
                   "callbacks.curves={_target_: gradloop.callbacks.curves.Curves}")  # fmt: skip
    assert record["devices"]["precision"] == "bf16-mixed"
    rows = list(csv.DictReader((Path(record["folder"]) / "metrics.csv").read_text().splitlines()))
    losses = torch.tensor([float(row[name]) for row in rows for name in ("val/loss", "train/loss")])
    assert (losses != losses.bfloat16().float()).all()
    test = torch.tensor(record["metrics"]["test/loss"])
    assert test != test.bfloat16().float()
