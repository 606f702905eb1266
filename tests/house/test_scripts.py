"""The commands that an install puts beside Python are there, and answer."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SCRIPTS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_command_of_the_project_answers(name: str) -> None:
    module, _, function = SCRIPTS[name].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    installed = Path(sys.executable).with_name(name)
    if installed.exists():  # else the tests run from a copy that is not installed
        ended = subprocess.run([installed, "--help"], capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert name.replace("-", " ").split()[0] in ended.stdout
