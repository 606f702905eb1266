"""Transforms of one's own by `_target_`: every picture by its own draw, and exact under resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from folders_for_tests import draw, folder_data
from gradloop.data.pictures.decoded import PictureFiles
from gradloop.errors import ConfigError, DataError
from one_line import assert_one_line
from small_runs import assert_equal, train, weights

V2 = "torchvision.transforms.v2"
OWN = f"[{{_target_: {V2}.RandomResizedCrop, size: [6,6]}},{{_target_: {V2}.RandomGrayscale, p: 0.5}}]"
EVAL = f"[{{_target_: {V2}.CenterCrop, size: 6}}]"


def given(root: Path, folder: Path) -> list[str]:
    return [
        "data=image_folder", f"data.root={root}", f"data.cache_dir={folder}", f"data.train_transforms={OWN}",
        f"data.eval_transforms={EVAL}", "model.hidden_dims=[4]", "data.batch_size=4", "augmentation=flip",
    ]  # fmt: skip


def test_each_picture_has_a_draw_of_its_own_whatever_the_batch(root):
    own = {"train_transforms": [v2.RandomCrop(4)], "eval_transforms": [v2.CenterCrop(4)]}
    batches = {}
    for size in (2, 6):
        data = folder_data(root, batch_size=size, **own)
        data.setup()
        assert data.input_shape == (3, 4, 4)
        before = torch.get_rng_state()
        batches[size] = torch.cat([inputs for inputs, _ in data.train_dataloader()])
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(batches[2], batches[6])
    loader = data.train_dataloader()
    assert not torch.equal(torch.cat([inputs for inputs, _ in loader.rest(1, 0)]), batches[6])
    plain = folder_data(root)
    plain.setup()
    middle = next(iter(data.val_dataloader()))[0]
    assert torch.equal(middle[:2], next(iter(plain.val_dataloader()))[0][:, :, 2:6, 3:7])


def test_what_is_drawn_from_numpy_is_a_picture_s_own_too(root):
    own = {"train_transforms": [lambda picture: picture.float() / 255 * float(np.random.rand())]}
    own["eval_transforms"] = [lambda picture: picture.float() / 255]
    batches = []
    for size in (2, 6):
        data = folder_data(root, batch_size=size, **own)
        data.setup()
        np.random.seed(size)
        batches.append(torch.cat([inputs for inputs, _ in data.train_dataloader()]))
    assert torch.equal(*batches)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"train_transforms": [v2.RandomCrop(4)]}, r"\(3, 4, 4\).*\(3, 8, 10\); expected one shape"),
        ({"train_transforms": [v2.RandomCrop(40)]}, r"data\.train_transforms: can't be applied"),
        ({"eval_transforms": [v2.ToPILImage()]}, r"data\.eval_transforms: gives "),
        (
            {"train_transforms": [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]},
            r"gives floats of -1 to -1; expected 0 to 1",
        ),
    ],
)
def test_transforms_that_fit_nothing(own, words, root):
    with pytest.raises(ConfigError, match=words):
        folder_data(root, **own).check()


def test_a_run_goes_on_exactly_and_takes_pictures_of_ones_own(root, tmp_path, command):
    whole = train(tmp_path / "whole", *given(root, tmp_path / "cache"), "trainer.max_epochs=3")
    half = train(tmp_path / "half", *given(root, tmp_path / "cache"), "trainer.max_epochs=1")
    ended = command(f"resume={half['folder']}", "trainer.max_epochs=3")
    assert ended.code == 0, ended.err
    assert_equal(weights(whole), weights(half))
    ended = command(f"run={whole['folder']}", f"inputs={root / 'red'}", "predictions=true", program="evaluate")
    assert ended.code == 0, ended.err
    assert "10 of inputs=" in ended.out


def test_a_transform_is_named_like_anything_else(root, command):
    line = [f"data.root={root}", "data=image_folder", "data.batch_size=4"]
    wrong = f"data.train_transforms=[{{_target_: {V2}.RandomCropp, size: 3}}]"
    assert_one_line(command(*line, wrong), 2, ["data.train_transforms[0]._target_", "RandomCropp", "'RandomCrop'"])
    assert_one_line(command(*line, "data.train_transforms=[flip]"), 2, ["data.train_transforms", "_target_"])


def test_without_a_cache_nothing_is_written_and_the_batches_are_the_same(root, tmp_path):
    draw(root / "red" / "wide.jpg", size=(400, 100))
    seen, same = [], {"image_size": 6, "in_memory": False, "num_workers": 1, "mean": [0.0] * 3, "std": [1.0] * 3}
    for changes in ({"cache": True, "cache_dir": str(tmp_path / "cache")}, {"cache": False}):
        data = folder_data(root, **same, **changes)
        data.setup()
        seen.append(torch.cat([inputs for inputs, _ in data.train_dataloader()]))
    assert isinstance(data.splits["train"].inputs.part.source, PictureFiles)
    assert torch.equal(*seen)


def test_a_broken_picture_met_by_a_worker_is_one_line(root):
    data = folder_data(root, image_size=6, in_memory=False, num_workers=1, mean=[0.0] * 3, std=[1.0] * 3)
    data.setup()
    broken = data.splits["train"].names[0]
    (root / broken).write_bytes(b"no picture")
    with pytest.raises(DataError) as error:
        list(data.train_dataloader())
    assert str(error.value).startswith(f"data.root: 1 of 20 pictures can't be used: {broken} is no picture")
    assert "\n" not in str(error.value)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path, monkeypatch):
    for name in ("a", "b"):
        for index in range(4):
            draw(tmp_path / "p" / name / f"{index}.jpg", size=(512, 640))
    decoded = []
    real = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *a, **k: decoded.append(self.size) or real(self, *a, **k))
    data = folder_data(tmp_path / "p", image_size=64)
    data.setup()
    assert set(decoded) == {(64, 80)}
