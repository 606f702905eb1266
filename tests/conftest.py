"""What every test gets: one thread, a clean environment, and a way to run commands in this process."""

from __future__ import annotations

import importlib
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.runs.record import Record
from gradloop.runs.signals import STOPS

BEGUN = time.monotonic()
QUIET = ("callbacks.progress=null", "callbacks.curves=null", "callbacks.tensorboard=null", "logger=none")


def pytest_addoption(parser: pytest.Parser) -> None:
    more = "tests in an order drawn anew, none begun after so many minutes; tests of drawn cases draw for as long"
    parser.addoption("--minutes", type=float, default=None, help=more)
    parser.addoption("--draw", type=int, default=None, help="repeat the one case that this number draws")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("minutes") is not None:  # xdist's processes must agree
        random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID", time.time())).shuffle(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("minutes")
    if minutes is not None and time.monotonic() > BEGUN + 60 * minutes:
        pytest.skip("not drawn this time")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HYDRA_FULL_ERROR", "GRADLOOP_RUN", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    torch.set_num_threads(1)
    level, handlers = logging.root.level, list(logging.root.handlers)
    signals = {number: signal.getsignal(number) for number in STOPS}  # a command keeps them to its end
    yield
    for number, handler in signals.items():
        signal.signal(number, handler)
    logging.root.handlers[:] = [h for h in logging.root.handlers if h in handlers]
    logging.root.setLevel(level)
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Record]:
    """Return a function that trains below tmp_path, without progress, pictures and loggers."""

    def run(*overrides: str) -> Record:
        given = {line.split("=")[0].lstrip("+~") for line in overrides}
        quiet = [line for line in QUIET if line.split("=")[0] not in given and "callbacks" not in given]
        return gradloop.train([*overrides, *quiet, f"output_dir={tmp_path}"])

    return run


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Return a function that runs `gradloop-<program>` in this process, in the empty folder tmp_path / "here"."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [*sys.path])  # a command may add the current folder

    def run(*arguments: str, program: str = "train") -> Ended:
        main = importlib.import_module(f"gradloop.commands.{program}").main
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setattr(sys, "argv", [f"gradloop-{program}", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            sys.exit(main())
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return run
