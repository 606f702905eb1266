from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from gradloop.sweeps.sweep_folder import read_sweep
from toy_sweep import finish_toy, last_sweep, members_of_session, start_toy, wait_for_sweep, wait_until_running

JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
KILLED = "its process was killed (kill -9, out of memory, or a crash of the interpreter)"


def test_joblib_survives_whatever_a_run_does(tmp_path):
    process = start_toy(tmp_path, *JOBLIB, "act=learn,exit,kill,killonce,raise", "model.width=8", "seed=0")
    done = finish_toy(tmp_path, process)
    assert done.code == 1
    assert {job.values["act"]: (job.status, job.reason) for job in done.sweep.jobs} == {
        "learn": ("completed", None),
        "exit": ("failed", "sys.exit(3)"),
        "kill": ("failed", KILLED),
        "killonce": ("completed", None),  # a kill from outside costs nothing: it goes on from its checkpoint
        "raise": ("failed", "RuntimeError: the third layer is missing"),
    }
    assert f"run 2 failed: {KILLED}" in done.out
    assert done.sweep.jobs[0].record["cores_given"] == str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert done.sweep.jobs[0].record["frozen_objects"] > 100_000  # torch was there before the worker was
    assert [len(done.starts(number)) for number in (0, 1, 4)] == [1, 1, 1]


def test_ctrl_c_while_the_workers_start_leaves_no_traceback(tmp_path):
    process = start_toy(tmp_path, *JOBLIB, "act=learn", "seed=range(4)")
    wait_for_sweep(tmp_path)
    time.sleep(1)  # torch is being imported
    os.killpg(process.pid, signal.SIGINT)
    done = finish_toy(tmp_path, process)
    assert done.code == 130
    assert "Traceback" not in done.out


def test_a_signal_to_the_whole_group_lets_the_runs_save(tmp_path):
    """Each run gets it twice then: from the group, and from its sweep."""
    arguments = ["data=digits", "trainer.max_epochs=100000", f"output_dir={tmp_path}", "seed=0,1", *JOBLIB]
    program = [sys.executable, "-c", "from gradloop.commands.train import main; main()", "-m", *arguments]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(program, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 60
    while len([1 for path in tmp_path.glob("sweeps/*/*/output.log") if "epoch 1/" in path.read_text()]) < 2:
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    sweep = read_sweep(last_sweep(tmp_path))
    for job in sweep.jobs:
        assert job.status == "interrupted"
        assert job.reason.startswith("stopped by SIGTERM; go on with: gradloop-train resume=")


def test_workers_end_when_their_sweep_is_killed(tmp_path):
    process = start_toy(tmp_path, *JOBLIB, "act=short", "seed=range(6)")
    wait_until_running(tmp_path, 0, 1)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while (left := members_of_session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
    process.stdout.close()


def test_ctrl_c_in_the_moment_in_which_the_fork_server_starts_is_not_lost():
    program = """
import os, signal, subprocess, sys
from gradloop.sweeps.launchers import _start_ignoring_ctrl_c

def start():
    os.kill(os.getpid(), signal.SIGINT)
    asked = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    print("ignored in the child:", subprocess.check_output([sys.executable, "-c", asked], text=True).strip())

try:
    _start_ignoring_ctrl_c(start)
    print("lost")
except KeyboardInterrupt:
    print("came through")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["ignored in the child: True", "came through"]


def test_workers_do_not_import_a_script_of_ones_own(tmp_path):
    """multiprocessing would, and a script without a guard would start the sweep again in each of them."""
    script = tmp_path / "my_sweep.py"
    script.write_text("import toy_sweep\ntoy_sweep.main()\n")
    process = start_toy(tmp_path / "out", *JOBLIB, "act=learn", "seed=0,1", program=[str(script)])
    done = finish_toy(tmp_path / "out", process)
    assert done.code == 0, done.out
    assert done.statuses == ["completed"] * 2
    assert done.sweep.jobs[0].record["frozen_objects"] == 0


def test_a_stopped_sweep_goes_on_with_the_same_command(tmp_path):
    command = (*JOBLIB, "act=learn,slow", "seed=0,1,2")
    process = start_toy(tmp_path, *command)
    wait_until_running(tmp_path, 3, 4)
    process.send_signal(signal.SIGTERM)
    stopped = finish_toy(tmp_path, process)
    assert stopped.code == 143
    assert stopped.statuses == ["completed"] * 3 + ["interrupted"] * 2 + ["not_run"]
    assert stopped.sweep.finished is False
    assert "1 not_run" in (stopped.sweep.folder / "leaderboard.md").read_text()
    assert f"sweep.resume={stopped.sweep.folder}" in stopped.out
    again = finish_toy(tmp_path, start_toy(tmp_path, *command, f"sweep.resume={stopped.sweep.folder}"))
    assert again.code == 0
    assert again.statuses == ["completed"] * 6
    assert [again.starts(number)[-1] for number in range(6)] == ["False"] * 3 + ["True"] * 2 + ["False"]
    assert [len(again.starts(number)) for number in range(6)] == [1, 1, 1, 2, 2, 1]
    assert again.sweep.finished is True


@pytest.mark.parametrize(
    ("number", "launcher"),
    [
        (signal.SIGINT, ()),
        pytest.param(signal.SIGTERM, (), marks=pytest.mark.slow),
        (signal.SIGTERM, ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1")),  # in the sweep's own process, too
    ],
)
def test_a_signal_ends_a_sweep_in_one_process(tmp_path, number, launcher):
    process = start_toy(tmp_path, *launcher, "act=learn,slow", "seed=0,1")
    wait_until_running(tmp_path, 2)
    process.send_signal(number)
    stopped = finish_toy(tmp_path, process)
    assert stopped.code == 128 + number
    assert stopped.statuses == ["completed", "completed", "interrupted", "not_run"]


def test_a_killed_sweep_goes_on(tmp_path):
    command = ("act=learn,slow,raise", "seed=0")
    process = start_toy(tmp_path, *command)
    wait_until_running(tmp_path, 1)
    process.kill()
    killed = finish_toy(tmp_path, process)
    assert killed.statuses == ["completed", "interrupted", "not_run"]
    again = finish_toy(tmp_path, start_toy(tmp_path, *command, "sweep.resume=last"))
    assert again.statuses == ["completed", "completed", "failed"]
    assert [again.starts(number) for number in (0, 1)] == [["False"], ["False", "True"]]


def test_submitit_on_this_machine(tmp_path):
    done = finish_toy(tmp_path, start_toy(tmp_path, "hydra/launcher=submitit_local", "act=learn,exit", "seed=0"))
    assert done.code == 1
    assert done.statuses == ["completed", "failed"]
    assert done.sweep.jobs[1].reason == "sys.exit(3)"


@pytest.mark.slow  # submitit waits 15 s for the result of a killed job
def test_submitit_survives_a_kill(tmp_path):
    process = start_toy(tmp_path, "hydra/launcher=submitit_local", "act=learn,kill,exit", "seed=0")
    done = finish_toy(tmp_path, process)
    assert done.code == 1
    reasons = {job.values["act"]: job.reason for job in done.sweep.jobs}
    assert reasons == {"learn": None, "kill": KILLED, "exit": "sys.exit(3)"}
    assert done.statuses == ["completed", "failed", "failed"]


SBATCH = """#!/bin/bash
# a stand-in: keeps the script, runs its tasks here and now
script="${@: -1}"
cp "$script" "$STAND_IN/script.sh"
tasks=$(grep -o 'array=0-[0-9]*' "$script" | grep -o '[0-9]*$')
export SLURM_ARRAY_JOB_ID=$$ SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1
export SLURM_JOB_NODELIST=localhost
(for task in $(seq 0 ${tasks:-0}); do
  SLURM_JOB_ID=$(($$ + task)) SLURM_ARRAY_TASK_ID=$task bash "$script"
done) > "$STAND_IN/log" 2>&1 &
echo "Submitted batch job $$"
"""
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do [[ "$1" == --unbuffered ]] && shift || shift 2; done
exec "$@"
"""


def test_slurm_gets_a_job_script(tmp_path):
    stand_in = tmp_path / "bin"
    stand_in.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": "#!/bin/bash\necho 'JobID|State|NodeList'\n"}.items():
        (stand_in / name).write_text(text)
        (stand_in / name).chmod(0o755)
    options = "hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=1", "hydra.launcher.timeout_min=30"
    path = f"{stand_in}{os.pathsep}{os.environ['PATH']}"
    arguments = "hydra/launcher=submitit_slurm", *options, "model.width=8,16", "seed=0"
    done = finish_toy(tmp_path, start_toy(tmp_path, *arguments, PATH=path, STAND_IN=str(stand_in)))
    script = (stand_in / "script.sh").read_text()
    for line in ("--partition=gpu", "--gpus-per-node=1", "--time=30", "--array=0-1%2", "--signal="):
        assert f"#SBATCH {line}" in script
    assert "-m submitit.core._submit" in script
    assert str(done.sweep.folder) in script
    assert done.statuses == ["completed"] * 2


def test_two_terminals_work_on_one_study(tmp_path):
    shared = f"sweep.storage=sqlite:///{tmp_path}/shared/study.db", "sweep.study=both"
    roots: list[Path] = [tmp_path / "one", tmp_path / "two"]
    processes = [start_toy(root, "sweep=optuna", "sweep.n_trials=3", *shared, "seed=0") for root in roots]
    done = [finish_toy(root, process) for root, process in zip(roots, processes, strict=True)]
    assert [outcome.code for outcome in done] == [0, 0], done[0].out + done[1].out
    study = optuna.load_study(study_name="both", storage=f"sqlite:///{tmp_path}/shared/study.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 6
    told = sorted(job.trial for outcome in done for job in outcome.sweep.jobs)
    assert told == list(range(6))  # each trial is one terminal's
