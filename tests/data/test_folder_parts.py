"""A folder of pictures whose sub-folders are parts: train, val, test."""

from __future__ import annotations

import os

import pytest

from folders_for_tests import draw, folder_data
from gradloop.errors import DataError


def test_folders_for_training_and_test_are_taken_as_such(root, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    os.symlink(root, given / "train")
    for name in ("red", "blue"):
        draw(given / "test" / name / "t.png")
    data = folder_data(given)
    data.setup()
    assert sorted(data.splits["test"].names) == ["test/blue/t.png", "test/red/t.png"]
    assert {len(data.splits["train"]), len(data.splits["val"])} == {16, 4}


@pytest.mark.parametrize(
    ("other", "told"), [("extra", "'train' holds its pictures itself"), ("validate", "did you mean 'validation'")]
)
def test_a_folder_beside_the_parts_that_is_none_is_named(other, told, root, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    for name in ("train", other):
        os.symlink(root, given / name)
    with pytest.raises(DataError, match=f"'train' is a part, and '{other}' is none .*{told}"):
        folder_data(given).check()


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train", "bus"):
        for number in range(10):
            draw(tmp_path / name / f"{number}.png")
    assert folder_data(tmp_path).class_names == ("bus", "train")


def test_a_class_that_a_part_lacks_is_told(root, tmp_path, capsys):
    given = tmp_path / "given"
    given.mkdir()
    os.symlink(root, given / "train")
    draw(given / "test" / "red" / "t.png")
    folder_data(given).check()
    assert "no picture of blue in test" in capsys.readouterr().err


def test_a_link_to_itself_is_no_folder(root):
    os.symlink("self", root / "red" / "self")
    os.symlink("again", root / "again")
    assert folder_data(root).class_names == ("blue", "red")
