"""A path that is empty is a mistake of a script, `run=$FOLDER`, and not the current folder."""

from __future__ import annotations

import pytest

from one_line import assert_one_line


@pytest.mark.parametrize(
    "line",
    [
        "evaluate sweep=", "evaluate run=", "evaluate run=a inputs=", "explain run=a explain.inputs=",
        "list output_dir=", "compare run=", "compare a --out=", "train --config-dir=",
        "train data=image_folder data.root=", "train data=csv data.target=a data.file=",
    ],
)  # fmt: skip
def test_an_empty_path_is_one_line(line, command, tmp_path):
    program, *words = line.split()
    assert_one_line(command(*words, program=program), 2, [f"{words[-1]}: expected a "])
    assert list((tmp_path / "here").iterdir()) == []


def test_so_is_a_name_that_is_empty(command):
    assert_one_line(command("", program="compare"), 2, ["'': expected a run"])
