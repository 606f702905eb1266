"""Runs of a sweep in processes of their own: what they do to each other, and what signals do to them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from gradloop.process import cores_here
from gradloop.runs.record import read_record
from gradloop.sweeps.running import KILLED
from gradloop.sweeps.sweep_folder import Sweep, read_sweep
from processes import until
from toy_sweep import environment, last_sweep, members_of_session

QUICK = [
    "sweep.population=off",
    "data=linear_regression",
    "model=linear",
    "callbacks=none",
    "logger=none",
    "trainer.max_epochs=1",
]
LONG = [*QUICK[:3], "callbacks.curves=null", "callbacks.checkpoints.every_seconds=0.1", "trainer.max_epochs=1000000"]
TWO = "hydra.launcher.n_jobs=2"
PROGRAM = "import sys; sys.argv[0] = 'gradloop-train'; from gradloop.commands.train import main; main()"
ACTING = """
import os, sys
import lightning.pytorch as pl
from gradloop.process import told

class Act(pl.Callback):
    def __init__(self, *, what):
        self.what = what

    def on_train_start(self, *_):
        print("cores", told()["cores"], "modules", "__mp_main__" in sys.modules)
        if self.what == "raise":
            raise RuntimeError("the third layer is missing\\nand more that nobody reads")
        if self.what == "exit":
            sys.exit(3)
        if self.what == "memory":
            raise MemoryError
        if self.what == "kill":
            os.kill(os.getpid(), 9)
"""


class Command:
    """`gradloop-train -m …` with a process group and a session of its own, as a terminal gives it."""

    def __init__(self, root: Path, *arguments: str, program: tuple[str, ...] = ("-c", PROGRAM), **more: str) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, *program, "-m", *arguments, f"output_dir={root}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=environment() | more,
        )

    def ended(self) -> tuple[int, str]:
        out, _ = self.process.communicate(timeout=300)
        return self.process.returncode, out

    @property
    def sweep(self) -> Sweep:
        return read_sweep(last_sweep(self.root))

    def __del__(self) -> None:
        self.process.kill()  # its runs notice
        self.process.communicate()

    def until_trained(self, *numbers: int) -> None:
        """Wait until these runs have a checkpoint."""
        saved = "sweeps/*/{}/checkpoints/last.ckpt"
        trained = lambda: all(list(self.root.glob(saved.format(number))) for number in numbers)  # noqa: E731
        until(lambda: self.has_ended() or trained(), timeout=200)
        assert not self.has_ended(), self.ended()[1]

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def until_nobody_is_left(self) -> None:
        until(lambda: not members_of_session(self.process.pid), timeout=30)


@pytest.mark.slow
def test_whatever_a_run_does_it_does_to_itself(tmp_path):
    (tmp_path / "acting.py").write_text(ACTING)
    acts = ["allow=[acting]", "+callbacks.act._target_=acting.Act", "+callbacks.act.what=kill,exit,memory,raise,fine"]
    command = Command(tmp_path / "out", *QUICK, *acts, "seed=0", TWO, PYTHONPATH=path_with(tmp_path))
    code, out = command.ended()
    assert code == 1, out
    reasons = [(job.reason or "").split(" (acting.py")[0] for job in command.sweep.jobs]
    jobs = zip(command.sweep.jobs, reasons, strict=True)
    assert [(job.values["callbacks.act.what"], job.status, reason or None) for job, reason in jobs] == [
        ("kill", "failed", KILLED),
        ("exit", "failed", "RuntimeError: own code ends the program: sys.exit(3)"),
        ("memory", "failed", "out of memory"),
        ("raise", "failed", "RuntimeError: the third layer is missing"),
        ("fine", "completed", None),
    ]
    assert f"run 0 failed: {KILLED}" in out
    cores = max(1, len(os.sched_getaffinity(0)) // 2)
    assert f"cores {cores} modules" not in out
    assert f"cores {cores} modules" in (command.sweep.folder / "4" / "output.log").read_text()
    record = read_record(command.sweep.folder / "4")
    assert record["overrides"] == command.sweep.jobs[4].overrides
    assert record["metrics"]
    command.until_nobody_is_left()


def path_with(folder: Path) -> str:
    return os.pathsep.join([environment()["PYTHONPATH"], str(folder)])


@pytest.mark.slow
def test_ctrl_c_while_torch_is_imported_leaves_no_traceback(tmp_path):
    command = Command(tmp_path, *QUICK, "seed=range(4)", TWO)
    until(lambda: list(tmp_path.glob("sweeps/*/sweep.json")))
    os.killpg(command.process.pid, signal.SIGINT)
    code, out = command.ended()
    assert code == 130, out
    assert "Traceback" not in out
    assert "stopped by SIGINT; to go on: gradloop-train -m" in out
    command.until_nobody_is_left()


@pytest.mark.parametrize(
    ("number", "whole_group", "jobs", "reason"),
    [
        (signal.SIGTERM, True, 2, "stopped by SIGTERM"),
        pytest.param(signal.SIGINT, True, 1, "stopped by Ctrl-C", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, False, 1, "stopped by SIGTERM", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, False, 2, "stopped by SIGHUP", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, True, 2, "stopped by SIGUSR1", marks=pytest.mark.slow),
    ],
)
def test_a_signal_lets_each_run_save_and_the_sweep_go_on_later(tmp_path, number, whole_group, jobs, reason):
    arguments = ["seed=0,1,2", f"hydra.launcher.n_jobs={jobs}"]
    command = Command(tmp_path, *LONG, *arguments)
    command.until_trained(*range(jobs))
    (os.killpg if whole_group else os.kill)(command.process.pid, number)
    code, out = command.ended()
    assert code == 128 + number, out
    sweep = command.sweep
    assert [job.status for job in sweep.jobs] == ["interrupted"] * jobs + ["not_run"] * (3 - jobs)
    for job in sweep.jobs[:jobs]:
        assert job.reason == f"{reason}; go on with: gradloop-train resume={sweep.job_folder(job)}"
    assert sweep.finished is False
    assert f"{3 - jobs} not_run" in (sweep.folder / "leaderboard.md").read_text()
    assert re.search(rf"stopped by {number.name}; to go on: gradloop-train -m .*sweep.resume={sweep.folder}", out)
    command.until_nobody_is_left()


@pytest.mark.slow
def test_a_killed_sweeps_runs_save_and_it_goes_on(tmp_path):
    command = Command(tmp_path, *LONG, "seed=0,1,2", TWO)
    command.until_trained(0, 1)
    command.process.kill()
    command.ended()
    command.until_nobody_is_left()
    killed = command.sweep
    assert [job.status for job in killed.jobs] == ["interrupted"] * 2 + ["not_run"]
    assert killed.jobs[0].reason.startswith("stopped by SIGTERM; go on with")
    before = read_record(killed.folder / "0")["started"]
    again = Command(tmp_path, *LONG, "seed=0,1,2", TWO, f"sweep.resume={killed.folder}")
    until(lambda: (now := read_record(killed.folder / "0"))["status"] == "running" and now["started"] != before)
    os.kill(again.process.pid, signal.SIGTERM)
    assert again.ended()[0] == 143
    assert [job.status for job in again.sweep.jobs] == ["interrupted"] * 2 + ["not_run"]


@pytest.mark.slow
def test_a_killed_run_is_killed_alone(tmp_path):
    command = Command(tmp_path, *LONG, "seed=0,1", TWO)
    command.until_trained(0, 1)
    first = read_record(command.sweep.folder / "0")["pid"]
    os.kill(first, signal.SIGKILL)  # it is tried again, once
    until(lambda: (now := read_record(command.sweep.folder / "0"))["status"] == "running" and now["pid"] != first)
    os.kill(read_record(command.sweep.folder / "0")["pid"], signal.SIGKILL)
    until(lambda: read_record(command.sweep.folder / "0")["status"] == "failed")
    assert read_record(command.sweep.folder / "1")["status"] == "running"
    os.kill(command.process.pid, signal.SIGTERM)
    code, out = command.ended()
    assert code == 143
    assert [(job.status, job.reason[:18]) for job in command.sweep.jobs] == [
        ("failed", KILLED[:18]),
        ("interrupted", "stopped by SIGTERM"),
    ], out
    assert f"run 0 was lost and tried again: {KILLED}" in out


@pytest.mark.slow
def test_a_script_of_ones_own_is_not_run_again_in_each_process(tmp_path):
    script = tmp_path / "my_sweep.py"
    script.write_text(f"print('my script')\n{PROGRAM}\n")
    command = Command(tmp_path / "out", *QUICK, "seed=0,1", program=(str(script),))
    code, out = command.ended()
    assert code == 0, out
    assert out.count("my script") == 1
    assert [job.status for job in command.sweep.jobs] == ["completed"] * 2


def test_runs_of_several_threads_do_not_wait_for_those_of_the_process_they_were_forked_from(tmp_path):
    """threads=auto: a network as large as this one asks for all cores. A pool of threads does not survive a fork."""
    knobs = ["data=digits", "model.hidden_dims=[2000,64]", "seed=0,1", "trainer.max_epochs=1"]
    its = {name: value for name, value in environment().items() if name != "OMP_NUM_THREADS"}  # as a user's is
    line = [sys.executable, "-c", PROGRAM, "-m", *knobs, f"output_dir={tmp_path}"]
    ended = subprocess.run(line, cwd=tmp_path, env=its, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    jobs = read_sweep(last_sweep(tmp_path)).jobs
    assert [job.record["devices"]["threads"] for job in jobs] == [cores_here()] * 2


@pytest.mark.slow
def test_the_sweeps_own_process_imports_no_torch(tmp_path):
    script = tmp_path / "my_sweep.py"
    script.write_text(
        "import atexit, sys\natexit.register(lambda: print('torch:', 'torch' in sys.modules))\n" + PROGRAM
    )
    command = Command(tmp_path / "out", *QUICK, "sweep=optuna", "sweep.n_trials=2", "seed=0", program=(str(script),))
    code, out = command.ended()
    assert code == 0, out
    assert "torch: False" in out
    assert [job.status for job in command.sweep.jobs] == ["completed"] * 2


@pytest.mark.slow
def test_two_terminals_work_on_one_study(tmp_path):
    shared = f"sweep.storage=sqlite:///{tmp_path}/shared/study.db", "sweep.study=both"
    arguments = [*QUICK, "sweep=optuna", "sweep.n_trials=3", *shared, "seed=0"]
    commands = [Command(tmp_path / name, *arguments) for name in ("one", "two")]
    done = [command.ended() for command in commands]
    assert [code for code, _ in done] == [0, 0], done[0][1] + done[1][1]
    study = optuna.load_study(study_name="both", storage=f"sqlite:///{tmp_path}/shared/study.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 6
    told = sorted(job.trial for command in commands for job in command.sweep.jobs)
    assert told == list(range(6))  # each trial is one terminal's
