"""Damaged checkpoints: one line each, and a resumed run goes on from the newest intact one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.errors import CheckpointError
from gradloop.runs.checkpoint_files import read_checkpoint

NO_PICTURES = ["callbacks.curves=null", "callbacks.tensorboard=null", "callbacks.progress=null", "logger=none"]


def flip_a_bit(path: Path) -> None:
    """Flip one bit of a weight: in the middle of the biggest entry of the archive."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        entry = max(archive.infolist(), key=lambda info: info.file_size)
    content = bytearray(path.read_bytes())
    content[entry.header_offset + len(content) // 10 + entry.file_size // 2] ^= 1
    path.write_bytes(content)


def foreign(path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


def pickled_code(path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (path.with_name("exploded"),))

    torch.save({"state_dict": Bomb(), "gradloop": {}}, path)


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "no such checkpoint"),
    "empty": (lambda path: path.write_bytes(b""), "an empty file"),
    "half": (
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "not a checkpoint, or only",
    ),
    "text": (lambda path: path.write_text("these are not the weights"), "not a checkpoint"),
    "folder": (as_folder, "a folder, not a checkpoint file"),
    "foreign": (foreign, "not a checkpoint of gradloop"),
    "flipped_bit": (flip_a_bit, "damaged"),
    "code": (pickled_code, "refused, not a checkpoint of plain tensors: it holds builtins.getattr, pathlib"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    run = gradloop.train(["data=digits", "model.hidden_dims=[256]", "trainer.max_epochs=2", f"output_dir={root}",
                          "callbacks.checkpoints.every_seconds=0", *NO_PICTURES])  # fmt: skip
    return Path(run["folder"])


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_checkpoints_are_one_line_each(kind: str, finished: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    damage, words = DAMAGE[kind]
    damage(folder / "checkpoints" / "best.ckpt")
    with pytest.raises(CheckpointError, match=words) as caught:
        gradloop.load(folder)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert not list(folder.rglob("exploded"))


@pytest.mark.parametrize("kind", DAMAGE)
def test_resume_falls_back_to_the_newest_intact(
    kind: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    damage, words = DAMAGE[kind]
    damage(folder / "checkpoints" / "last.ckpt")
    resumed = gradloop.train([f"resume={folder}", "trainer.max_epochs=3"])
    assert resumed["epochs"] == 3
    said = capsys.readouterr().out
    assert "resuming from previous.ckpt" in said
    assert re.search(words, said, re.MULTILINE)
    assert "\x1b" not in said


def test_weights_of_another_width_are_refused(finished: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    checkpoint = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    checkpoint["gradloop"]["recipe"]["config"]["model"]["hidden_dims"] = [32]
    torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
    with pytest.raises(CheckpointError, match="size mismatch"):
        gradloop.load(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes((finished / "checkpoints" / "best.ckpt").read_bytes())
    path.chmod(0)
    with pytest.raises(CheckpointError, match=r"can't be read: Permission denied"):
        read_checkpoint(path)
