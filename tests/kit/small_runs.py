"""Runs that draw and print nothing, and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import gradloop
from gradloop.runs.checkpoint_files import read_checkpoint

QUIET = ["seed=0", *(f"callbacks.{name}=null" for name in ("tensorboard", "progress", "curves", "pictures"))]


def train(folder: Path, *overrides: str) -> dict[str, Any]:
    return gradloop.train([*QUIET, f"output_dir={folder}", *overrides])


def weights(record: dict[str, Any], name: str = "last") -> dict[str, torch.Tensor]:
    return read_checkpoint(Path(record["folder"]) / "checkpoints" / f"{name}.ckpt")["state_dict"]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], **tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], **(tolerance or {"rtol": 0, "atol": 0}))
