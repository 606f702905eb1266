"""Sweep folders as a sweep leaves them, made without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gradloop.sweeps.sweep_folder import Job, Sweep


def record(value: float | None, *, seed: int, overrides: list[str], status: str, **more: Any) -> dict:
    metrics, best = {}, {}
    if value is not None:
        metrics = {"val/accuracy": value, "val/loss": 1 - value, "test/accuracy": value - 0.01}
        best = {"epoch": 2, "step": 30, "value": value, "checkpoint": "checkpoints/best.ckpt"}
    return {
        "status": status,
        "reason": None if status in ("completed", "pruned") else "loss is NaN at step 7",
        "name": "toy",
        "monitor": {"metric": "val/accuracy", "mode": "max"},
        "metrics": metrics,
        "best": best,
        "overrides": overrides,
        "signature": " ".join(overrides),
        "seed": seed,
        "durations": {"fit": 1.0, "total": 1.5},
        "started": "2026-01-01T10:00:00+00:00",
        "finished": "2026-01-01T10:00:02+00:00",
        **more,
    }


def make_sweep(folder: Path, points: list[tuple[dict[str, Any], int, float | None, str]]) -> Sweep:
    """Write a sweep with one job a point: (setting, seed, value of val/accuracy, status)."""
    jobs = []
    for number, (setting, seed, value, status) in enumerate(points):
        values = {**setting, "seed": seed}
        overrides = [f"{key}={value}" for key, value in values.items()]
        jobs.append(Job(number, values, overrides, signature=" ".join(overrides)))
        if status == "not_run":
            continue
        run = folder / str(number)
        run.mkdir(parents=True)
        data = record(value, seed=seed, overrides=overrides, status=status, pid=2**22 + 1)
        (run / "summary.json").write_text(json.dumps(data))
    keys = sorted({key for setting, *_ in points for key in setting})
    folder.mkdir(parents=True, exist_ok=True)
    sweep = Sweep(folder, folder.name, "grid", "gradloop-train -m …", keys, "val/accuracy", "max", jobs=jobs)
    sweep.refresh()
    sweep.save()
    return sweep


def empty_picture(board: Any) -> None:
    """Stand in for a sweep's picture. It lies here because it is sent, by its name, to the process that draws."""
    (board.sweep.folder / "leaderboard.png").write_bytes(b"png")
