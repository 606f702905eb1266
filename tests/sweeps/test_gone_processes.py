"""Processes of a sweep that end at the wrong moment: the one that runs are forked from, a spare one, the command."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from gradloop.runs.record import read_record
from processes import until
from sweeps.test_engines import LONG, QUICK, TWO, Command, path_with
from toy_sweep import members_of_session

SLOW = """
import time, torch
from pathlib import Path
class Net(torch.nn.Linear):
    def __init__(self, in_features, num_outputs):
        Path(__file__).with_name("began").touch()
        time.sleep(200)
        super().__init__(in_features, num_outputs)
"""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def pid_of(command: Command, run: int) -> int:
    return int(read_record(command.sweep.folder / str(run))["pid"])


def children_of(command: Command, server: int) -> set[int]:
    return {pid for pid in members_of_session(command.process.pid) if parent_of(pid) == server}


@pytest.mark.slow
def test_runs_outlive_the_process_that_they_were_forked_from(tmp_path: Path) -> None:
    command = Command(tmp_path, *LONG, "seed=0,1", TWO)
    command.until_trained(0, 1)
    pids = [pid_of(command, run) for run in (0, 1)]
    os.kill(parent_of(pids[0]), signal.SIGKILL)
    os.kill(pids[0], signal.SIGKILL)  # it is tried again, by a new server
    until(lambda: command.has_ended() or pid_of(command, 0) != pids[0], timeout=60)
    assert pid_of(command, 1) == pids[1]
    os.kill(command.process.pid, signal.SIGTERM)
    code, out = command.ended()
    assert code == 143, out
    assert [job.reason[:18] for job in command.sweep.jobs] == ["stopped by SIGTERM"] * 2
    assert out.count("was lost") == 1
    command.until_nobody_is_left()


@pytest.mark.slow
def test_a_spare_process_that_was_killed_is_no_runs_loss(tmp_path: Path) -> None:
    shorter = [line for line in LONG if "max_epochs" not in line]
    command = Command(tmp_path, *shorter, "trainer.max_epochs=1500", "seed=0,1", "sweep.retries=0")
    command.until_trained(0)
    first = pid_of(command, 0)
    until(lambda: len(children_of(command, parent_of(first))) == 2)
    for spare in children_of(command, parent_of(first)) - {first}:
        os.kill(spare, signal.SIGKILL)
    code, out = command.ended()
    assert code == 0, out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_ends_while_own_code_is_asked_what_stacks(tmp_path: Path, number: int) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    asked = [line for line in QUICK if not line.startswith(("model", "sweep"))]
    command = Command(tmp_path / "out", *asked, "model._target_=slow.Net", "seed=0,1", PYTHONPATH=path_with(tmp_path))
    until(lambda: command.has_ended() or (tmp_path / "began").exists(), timeout=60)
    os.kill(command.process.pid, number)
    until(command.has_ended, timeout=20)
    code, out = command.ended()
    assert code == (130 if number == signal.SIGINT else -9), out
    assert "Traceback" not in out
    assert "can't be tried" not in out
    command.until_nobody_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.3, 1.0, 2.0])  # seconds: it imports torch
def test_a_server_that_is_killed_while_it_begins_is_begun_anew(tmp_path: Path, after: float) -> None:
    command = Command(tmp_path, *QUICK, "seed=0,1")
    own = command.process.pid

    def servers() -> list[int]:
        pids = [pid for pid in members_of_session(own) if parent_of(pid) == own]
        return [pid for pid in pids if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    until(lambda: command.has_ended() or bool(servers()))
    time.sleep(after)
    os.kill(servers()[0], signal.SIGKILL)
    code, out = command.ended()
    assert code == 0, out
    assert [job.status for job in command.sweep.jobs] == ["completed"] * 2


@pytest.mark.slow
def test_of_a_lost_run_no_further_process_is_left(tmp_path: Path) -> None:
    command = Command(tmp_path, *LONG, "seed=0", "accelerator=ddp_cpu", "sweep.retries=0")
    command.until_trained(0)
    os.kill(pid_of(command, 0), signal.SIGKILL)
    code, out = command.ended()
    assert code == 1, out
    assert "still runs" not in out
    command.until_nobody_is_left()


@pytest.mark.slow
def test_runs_of_a_population_that_was_lost_go_on_alone(tmp_path: Path) -> None:
    command = Command(tmp_path, *(line for line in LONG if "population" not in line), "seed=range(3)")
    command.until_trained(0, 1, 2)
    (together,) = {pid_of(command, run) for run in range(3)}
    os.kill(together, signal.SIGKILL)
    until(lambda: command.has_ended() or any(pid_of(command, run) != together for run in range(3)), timeout=60)
    assert [pid_of(command, run) != together for run in range(3)].count(True) == 1  # one at a time
    os.kill(command.process.pid, signal.SIGTERM)
    code, out = command.ended()
    assert code == 143, out
    assert out.count("was lost and tried again") == 3
    assert [job.status for job in command.sweep.jobs] == ["interrupted"] * 3
