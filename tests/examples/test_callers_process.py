"""What a process that calls gradloop finds afterwards: its own logging, warnings, threads and random numbers."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
import warnings
from typing import Any

import lightning.pytorch  # noqa: F401 - its loggers are as it sets them
import pytest
from hydra import compose, initialize_config_dir

import gradloop
from gradloop.config.compose import VERSION
from gradloop.errors import ConfigError

TINY = ["data.samples=100", "trainer.max_epochs=1", "logger=none", "callbacks.pictures=null"]
LATE = """
import random, sys
import gradloop
assert "torch" not in sys.modules
gradloop.train({lines!r}, "seed=1", "output_dir={folder}")
import numpy, torch
print("drawn", torch.get_num_threads(), torch.rand(1).item(), numpy.random.rand())
"""


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def of_the_process() -> list[Any]:
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    settings = [(logger.level, logger.propagate, [*logger.handlers]) for logger in loggers]
    root = [logging.root.level, [*logging.root.handlers], warnings.showwarning, [*warnings.filters]]
    return [*settings, *root, os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK")]


def test_logging_and_warnings_are_the_callers_again(tmp_path):
    kept, mine = Kept(), logging.getLogger("of_mine")
    logging.root.addHandler(kept)
    logging.getLogger("lightning.pytorch").propagate = False
    for captured in (True, False):
        logging.captureWarnings(captured)
        before = of_the_process()
        record = gradloop.train([*TINY, f"output_dir={tmp_path}"])
        gradloop.load(record["folder"])
        assert of_the_process() == before
        mine.info("unheard")
        mine.warning("heard")
    assert kept.said == ["heard", "heard"]
    logging.captureWarnings(False)


def test_what_a_run_is_the_first_to_import_is_left_as_an_import_leaves_it(tmp_path):
    def drawn(code: str) -> list[str]:
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return next(line for line in ended.stdout.splitlines() if line.startswith("drawn")).split()[1:]

    one, other = (drawn(LATE.format(lines=TINY, folder=tmp_path)) for _ in range(2))
    assert [one[0]] == drawn("import torch; print('drawn', torch.get_num_threads())")
    assert one[1] != other[1]
    assert one[2] != other[2]


def test_a_run_is_loaded_beside_another_that_trains(tmp_path):
    lines = [*TINY, "seed=1", "model.dropout=0.5", "trainer.max_epochs=4", f"output_dir={tmp_path}"]
    alone, stop = gradloop.train(lines), threading.Event()

    def load() -> None:
        while not stop.is_set():
            gradloop.load(alone["folder"])

    beside = threading.Thread(target=load)
    beside.start()
    try:
        assert gradloop.train(lines)["metrics"] == alone["metrics"]
    finally:
        stop.set()
        beside.join()


def test_a_caller_goes_on_with_its_own_hydra(tmp_path):
    (tmp_path / "mine.yaml").write_text("x: 1\n")
    with initialize_config_dir(str(tmp_path), **VERSION):
        gradloop.train([*TINY, f"output_dir={tmp_path}"])
        with pytest.raises(ConfigError):
            gradloop.train("data=nothing")
        assert compose("mine") == {"x": 1}


@pytest.mark.parametrize("encoding", ["ascii", None])
def test_an_output_that_shows_little_or_is_not_there_ends_no_run(encoding, tmp_path, monkeypatch):
    shown = None if encoding is None else io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", shown)
        patch.setattr(sys, "stderr", None)
        assert gradloop.train([*TINY, f"output_dir={tmp_path}"])["status"] == "completed"
        assert (sys.stdout, sys.stderr) == (shown, None)
    if shown is not None:
        assert shown.errors == "strict"
        shown.seek(0)
        assert "synthetic_classification ? SimpleNN" in shown.read()
