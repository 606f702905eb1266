"""Pictures that a process beside draws."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradloop.drawing import beside
from gradloop.runs.folder import write_atomically


def write(path: Path, text: str) -> None:
    write_atomically(path, f"{text} by {os.getpid()}")


def fail() -> None:
    raise ValueError("no ink")


@pytest.fixture
def importable(monkeypatch):
    """The process beside finds what is to be called by its module's name."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def test_without_a_process_it_is_drawn_at_once(tmp_path):
    beside.draw(write, tmp_path / "a", "drawn")
    assert (tmp_path / "a").read_text() == f"drawn by {os.getpid()}"


def test_all_pictures_are_there_at_the_end_and_another_process_drew_them(tmp_path, importable, caplog):
    with beside.process_beside():
        for number in range(20):
            beside.draw(write, tmp_path / str(number), "drawn")
        beside.draw(fail)
        beside.draw(write, tmp_path / "last", "drawn")
    drawers = {(tmp_path / name).read_text() for name in [*map(str, range(20)), "last"]}
    assert len(drawers) == 1
    assert drawers != {f"drawn by {os.getpid()}"}
    assert "no ink" in caplog.text  # told, and the next one was drawn


def test_a_killed_process_beside_costs_no_picture(tmp_path, importable):
    with beside.process_beside():
        beside._process.kill()
        beside._process.wait()
        for number in range(3):
            beside.draw(write, tmp_path / str(number), "drawn")
    assert {(tmp_path / str(n)).read_text() for n in range(3)} == {f"drawn by {os.getpid()}"}


def test_it_imports_no_torch():
    code = (
        "import sys; import gradloop.drawing.beside, gradloop.drawing.charts as charts; "
        "import numpy as np; charts.confusion_png(np.eye(2), ['a', 'b'], 'val'); "
        "above = ('torch', 'lightning', 'gradloop.callbacks', 'gradloop.training', 'gradloop.sweeps'); "
        "assert not [name for name in sys.modules if name.startswith(above)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_ends_with_a_sweep_that_is_killed(tmp_path):
    code = (
        "import os, time\nfrom gradloop.drawing import beside\nwith beside.process_beside():\n"
        "    print(beside._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as sweep:
        pid = int(sweep.stdout.readline())
        sweep.kill()
    deadline = time.monotonic() + 20
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running(pid)


def test_a_killed_sweep_gets_no_traceback_from_it(tmp_path):
    """It has pictures to draw, and nobody to answer: not even a whole message, perhaps."""
    code = (
        "import os, time, sys\nsys.path.insert(0, sys.argv[1])\nfrom test_beside import slowly\n"
        "from gradloop.drawing import beside\nwith beside.process_beside():\n"
        "    beside.draw(slowly, sys.argv[2])\n    beside._process.stdin.write(b'\\x80\\x04half')\n"
        "    beside._process.stdin.flush(); print(beside._process.pid, flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "drawn")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with (
        open(tmp_path / "errors", "w") as errors,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors, env=environment) as sweep,
    ):
        pid = int(sweep.stdout.readline())
        sweep.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running(pid)
    assert (tmp_path / "drawn").read_text() == "drawn"
    assert (tmp_path / "errors").read_text() == ""


def slowly(path: str) -> None:
    time.sleep(1.0)
    Path(path).write_text("drawn")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
