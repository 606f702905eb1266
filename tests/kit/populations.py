"""Sweeps whose runs are trained as one, and what they are compared by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from gradloop.runs.checkpoint_files import read_checkpoint
from gradloop.runs.record import Record, read_record
from processes import Child

QUIET = [f"callbacks.{name}=null" for name in ("progress", "curves", "tensorboard", "pictures")]
SYNTHETIC = ["experiment=synthetic_classification", "trainer.max_epochs=4", *QUIET]
SHUFFLED = [*SYNTHETIC, "data.shuffle=true", "data.validate_on_test=false"]
RATES = ["optimizer.lr=1e-3,1e-2", "seed=0,1"]
TOLD = ("status", "reason", "exit_code", "metrics", "best", "epochs", "found", "signature", "monitor", "data")


def swept(root: Path, name: str, *arguments: str, code: int = 0) -> Path:
    """Run a sweep; return its folder."""
    folder = root / name
    given = {line.split("=")[0]: line for line in arguments}  # of a key that is given twice, the last
    child = Child(["-m", *given.values(), f"hydra.sweep.dir={folder}"], root / f"{name}.log")
    assert child.wait(timeout=280) == code, child.output()
    return folder


def records(sweep: Path) -> list[Record]:
    count = len(json.loads((sweep / "sweep.json").read_text())["jobs"])
    return [read_record(sweep / str(number)) for number in range(count)]


def content(run: Path, name: str) -> Any:
    """What a checkpoint holds, but for times and the lengths of event files."""
    path = run / "checkpoints" / f"{name}.ckpt"
    if not path.exists():
        return None
    found = read_checkpoint(path)
    for key in ("seconds", "event_files", "recipe"):
        found["gradloop"].pop(key, None)
    for *_, payload in found.get("callbacks", {}).get("Checkpoints", {}).get("best", []):
        payload["gradloop"].pop("recipe", None)
    if (found["gradloop"].get("position") or {}).get("step") and found["gradloop"]["history"] == []:
        found.pop("global_step")  # Lightning's count, of a run that ended inside its first epoch
    return found


def assert_same(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(other, one, rtol=0, atol=0, equal_nan=True, msg=lambda text: f"{where}: {text}")
    else:
        assert one == other or (one != one and other != other), where


def assert_as_alone(together: Path, alone: Path, *, exact: bool = True) -> None:
    for one, other in zip(records(together), records(alone), strict=True):
        assert one["population"]["exact"] is exact
        assert "population" not in other
        assert_same({key: other.get(key) for key in TOLD}, {key: one.get(key) for key in TOLD}, "record")
        folders = Path(other["folder"]), Path(one["folder"])
        for name in ("best", "last"):
            assert_same(*(content(folder, name) for folder in folders), name)
