"""Folders and configs as a stranger would hand them over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import gradloop

TOY = ("data=linear_regression", "model=linear", "trainer.max_epochs=1", "seed=0")
QUIET = (
    "callbacks.progress=null",
    "callbacks.curves=null",
    "callbacks.tensorboard=null",
    "callbacks.checkpoints.every_seconds=0",
)


def finished_run(root: Path, *overrides: str) -> Path:
    return Path(gradloop.train([*TOY, *QUIET, *overrides, f"output_dir={root}"])["folder"])


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target, symlinks=True)
    return target


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_checkpoints(folder: Path, change: Callable[[Any], object]) -> None:
    for path in (folder / "checkpoints").glob("*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        change(checkpoint)
        path.unlink()  # previous.ckpt may be another name of last.ckpt
        torch.save(checkpoint, path)


def gift(folder: Path, **groups: object) -> list[str]:
    """Write an experiment, and return the command line that takes it."""
    (folder / "conf" / "experiment").mkdir(parents=True)
    text = "# @package _global_\n" + yaml.safe_dump(groups)
    (folder / "conf" / "experiment" / "gift.yaml").write_text(text)
    return ["--config-dir", str(folder / "conf"), "experiment=gift"]


def assert_refused(ended: Any, code: int, *words: str) -> None:
    """One line on stderr; what a sweep printed before does not matter."""
    assert ended.code == code, ended.err + ended.out
    assert ended.err.startswith("error: "), ended.err
    assert ended.err.count("\n") == 1, ended.err
    for word in words:
        assert word in ended.err, ended.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("finished"))
