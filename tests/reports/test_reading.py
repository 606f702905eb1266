"""The user's own files: what is read, and what is said of a bad one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gradloop.errors import DataError
from gradloop.reports.reading import find_files, read_pictures, read_table

TABLE = {
    "facts": {"input_shape": [2], "input_names": ["x", "y"]},
    "config": {"data": {}},
    "preprocessing": {"mean": [1.0, 2.0], "std": [2.0, 4.0]},
}


def pictures(**data: Any) -> dict[str, Any]:
    preprocessing = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    return {"facts": {"input_shape": [3, 4, 6]}, "config": {"data": data}, "preprocessing": preprocessing}


def picture(path: Path, size: tuple[int, int], mode: str = "RGB") -> Path:
    Image.new(mode, size, "white").save(path)
    return path


def table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def test_pictures_are_normalised_as_in_training(tmp_path: Path) -> None:
    found = read_pictures([picture(tmp_path / "a.png", (6, 4))], pictures(), resize=False)
    assert found.shape == (1, 3, 4, 6)
    assert torch.equal(found, torch.full((1, 3, 4, 6), 2.0))  # (1 - 0.5) / 0.25


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_mode_becomes_the_one_of_training(tmp_path: Path, mode: str) -> None:
    found = read_pictures([picture(tmp_path / "a.png", (6, 4), mode)], pictures(), resize=False)
    assert found.shape == (1, 3, 4, 6)


def test_another_size_is_refused_unless_scaling_is_asked_for_or_was_trained_with(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png", (60, 40))
    with pytest.raises(DataError, match=r"a.png: 60 x 40 pixels, .* on 6 x 4; scale it with explain.resize=true"):
        read_pictures([file], pictures(), resize=False)
    assert read_pictures([file], pictures(), resize=True).shape == (1, 3, 4, 6)
    assert read_pictures([file], pictures(image_size=[4, 6], fit="squash"), resize=False).shape == (1, 3, 4, 6)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken.png: can't be read as a picture"):
        read_pictures([tmp_path / "broken.png"], pictures(), resize=True)
    with pytest.raises(DataError, match=r"table.csv: a table, and this run was trained on pictures of 6 x 4"):
        read_pictures([table(tmp_path, "a,b\n")], pictures(), resize=True)


def test_folders_and_lists_of_files(tmp_path: Path) -> None:
    first, second = picture(tmp_path / "a.png", (6, 4)), picture(tmp_path / "B.JPG", (6, 4))
    (tmp_path / "notes.txt").write_text("no picture")
    assert sorted(find_files(str(tmp_path))) == sorted([first, second])
    assert find_files([str(second), str(first)]) == [second, first]
    (tmp_path / "empty").mkdir()
    for given, message in (
        (str(tmp_path / "empty"), "no picture in this folder"),
        ("gone.png", "no such file"),
        ([], "at least one"),
    ):
        with pytest.raises(DataError, match=message):
            find_files(given)


def test_columns_are_found_by_name_and_scaled(tmp_path: Path) -> None:
    file = table(tmp_path, "\ufeffname,y,other,x\nfirst,6,z,3\nsecond,2,z,1\n")
    names, found = read_table(file, TABLE)
    assert names == ["first", "second"]
    assert found.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    names, _ = read_table(table(tmp_path, "x,y\n1,2\n\n3,4\n"), TABLE)
    assert names == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file; expected a line with the columns' names: x, y"),
        ("x,y\n", "no row below"),
        ("x,Y\n1,2\n", "no column 'y'; did you mean 'Y'|no column 'y'; expected x, y"),
        ("x,x,y\n1,2,3\n", "two columns are called 'x'"),
        ("x,y\n1,2\n1\n", "line 3 has 1 cells, the first line has 2"),
        ("x,y\n1,two\n", "line 2, column 'y': expected a finite number, not 'two'"),
        ("x,y\n1,nan\n", "line 2, column 'y': expected a finite number"),
        ("x,y\n1,\n", "line 2, column 'y': expected a finite number, not ''"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_table(table(tmp_path, text), TABLE)
    assert "\n" not in str(caught.value)


def test_what_is_no_table_is_said(tmp_path: Path) -> None:
    binary = tmp_path / "table.csv"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="can't be read as a CSV"):
        read_table(binary, TABLE)
    with pytest.raises(DataError, match="a picture, and this run was trained on tables of 2 columns"):
        read_table(tmp_path / "a.png", TABLE)
