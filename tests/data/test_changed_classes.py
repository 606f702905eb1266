"""Classes that are called otherwise since a run was trained are not measured by its outputs' order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

import gradloop
from gradloop.commands.evaluate import run as evaluate
from gradloop.errors import ConfigError, DataError
from gradloop.reports.reading import find_files

SMALL = ["data=image_folder", "trainer.max_epochs=1", "logger=none", "callbacks.curves=null", "seed=0"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, low in (("cat", 0), ("frog", 100), ("ship", 180)):
        (tmp_path / "root" / name).mkdir(parents=True)
        for number in range(12):
            grey = Image.new("RGB", (8, 8), (low + number,) * 3)
            grey.save(tmp_path / "root" / name / f"{number}.png")
    return tmp_path / "root"


@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_renamed_classes_are_refused(root: Path, tmp_path: Path, in_memory: str) -> None:
    place = [f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}", f"output_dir={tmp_path}"]
    run = gradloop.train([*SMALL, *place, f"data.in_memory={in_memory}", "model=simple_nn", "data.batch_size=8"])
    (root / "frog").rename(root / "aaa")
    told = r"its classes have changed since .*\(frog gone; aaa new\)"
    with pytest.raises(DataError, match=told):
        evaluate([f"run={run['folder']}"], None, "evaluate")
    with pytest.raises(DataError, match=told):
        gradloop.train([f"resume={run['folder']}", "trainer.max_epochs=2"])


def test_outputs_of_other_classes_are_told_of(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = [f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}", f"output_dir={tmp_path}"]
    given = [*SMALL, *place, "model=simple_nn", "data.batch_size=8"]
    first = gradloop.train(given)["folder"]
    assert "other classes" not in str(gradloop.train([*given, f"init_from={first}"])["init_from"])
    (root / "frog").rename(root / "aaa")
    capsys.readouterr()
    assert gradloop.train([*given, f"init_from={first}"])["init_from"]["classes"] == ["cat", "frog", "ship"]
    assert "its outputs were those of other classes: cat, frog, ship" in capsys.readouterr().out


def test_a_picture_that_can_be_read_again_is_taken(root: Path, tmp_path: Path) -> None:
    place = [
        f"data.root={root}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"output_dir={tmp_path}",
        "data.broken=skip",
    ]
    given = [*SMALL, *place, "model=simple_nn", "data.batch_size=8"]
    picture = root / "cat" / "3.png"
    content, state = picture.read_bytes(), picture.stat()

    def samples(content: bytes) -> int:
        picture.write_bytes(content)
        os.utime(picture, ns=(state.st_atime_ns, state.st_mtime_ns))  # as after chmod
        return sum(gradloop.train(given)["data"]["samples"].values())

    assert samples(b"?" * len(content)) == 35
    assert samples(content) == 36
    assert samples(content) == 36


def test_a_last_batch_of_one_is_refused_where_batch_norm_can_not_train_on_it(root: Path, tmp_path: Path) -> None:
    place = [f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}", f"output_dir={tmp_path}"]
    given = [*SMALL, *place, "model=resnet9", "model.width=4", "data.test_fraction=0.2", "data.val_fraction=0.1"]
    samples = gradloop.train([*given, "data.batch_size=8"])["data"]["samples"]["train"]
    with pytest.raises(ConfigError, match=r"the last batch of an epoch has one sample.*data.drop_last=true"):
        gradloop.train([*given, f"data.batch_size={samples - 1}"])
    assert gradloop.train([*given, f"data.batch_size={samples - 1}", "data.drop_last=true"])["epochs"] == 1


def test_hidden_files_are_no_inputs(root: Path) -> None:
    (root / "cat" / "._0.png").write_bytes(b"of a Mac")
    (root / ".thumbs").mkdir()
    Image.new("RGB", (8, 8)).save(root / ".thumbs" / "1.png")
    assert len(find_files(str(root))) == 36


def test_frozen_layers_are_those_but_the_last(root: Path, tmp_path: Path) -> None:
    class Rooted(torch.nn.Module):
        def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
            super().__init__()
            self.token = torch.nn.Parameter(torch.zeros(1))
            self.body, self.norm = torch.nn.Conv2d(input_shape[0], 4, 3), torch.nn.BatchNorm2d(4)
            self.head = torch.nn.Linear(4, num_outputs)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.body(pictures)).mean((2, 3)) + self.token)

    place = [f"data.root={root}", f"data.cache_dir={tmp_path / 'cache'}", f"output_dir={tmp_path}"]
    freeze = ["callbacks=freeze", "callbacks.freeze.until_epoch=null", "callbacks.freeze.train_batch_norm=false"]
    given = [*SMALL[:-1], *place, "data.batch_size=8", "seed=3"]
    run = gradloop.train([*given, "trainer.max_epochs=2", *freeze], model=Rooted)
    first = gradloop.train([*given, "trainer.max_epochs=1", "optimizer.lr=1e-30", *freeze], model=Rooted)
    trained, untrained = (gradloop.load(one, checkpoint="last").network.state_dict() for one in (run, first))
    changed = {name for name, value in trained.items() if not torch.allclose(value, untrained[name], atol=1e-12)}
    assert changed == {"head.weight", "head.bias"}
