"""A folder that nothing can be written to."""

from __future__ import annotations

import os

import pytest

from one_line import assert_one_line


def test_an_output_folder_below_a_file(command, tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    assert_one_line(command(f"output_dir={file}/x"), 4, [str(file), "is not a folder"])
    assert file.read_text() == "not a folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_is_not_writable(command, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert_one_line(command(f"output_dir={folder}"), 4, [str(folder), "not writable"])


def test_a_sweep_below_a_line_break_is_refused_at_once(command, tmp_path, monkeypatch):
    folder = tmp_path / "two\nlines"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert_one_line(command("-m", "seed=0,1"), 2, ["two\\nlines': a line break in its name"])
    assert list(folder.iterdir()) == []
