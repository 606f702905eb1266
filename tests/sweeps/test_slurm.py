"""A sweep's runs as jobs of a cluster: on this machine, and with a stand-in for SLURM's commands."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from gradloop.sweeps.engines.slurm import RequeuedJob
from gradloop.sweeps.running import KILLED
from processes import until
from sweeps.test_engines import ACTING, LONG, QUICK, Command, path_with

LOCAL = "hydra/launcher=slurm", "hydra.launcher.cluster=local"
COMMANDS = {
    "sbatch": """#!/bin/bash
# keeps the script, runs it here and now
script="${@: -1}"
cp "$script" "$STAND_IN/script.sh"
export SLURM_JOB_ID=$$ SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1
export SLURM_JOB_NODELIST=localhost
copy="$STAND_IN/script_$$.sh"  # submitit renames its own file as soon as this program has ended
cp "$script" "$copy"
(while [[ -n "$HOLD" && ! -e "$HOLD" ]]; do sleep 0.1; done; bash "$copy") > "$STAND_IN/log_$$" 2>&1 &
echo "Submitted batch job $$"
""",
    "srun": """#!/bin/bash
while [[ "$1" == --* ]]; do [[ "$1" == --unbuffered ]] && shift || shift 2; done
exec "$@"
""",
    "sacct": "#!/bin/bash\necho 'JobID|State|NodeList'\n",
}


def stand_in(folder: Path) -> dict[str, str]:
    folder.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "STAND_IN": str(folder)}


@pytest.mark.slow
def test_slurm_gets_a_job_script(tmp_path):
    options = "hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=1", "hydra.launcher.timeout_min=30"
    environment = stand_in(tmp_path / "bin")
    command = Command(tmp_path / "out", *QUICK, "hydra/launcher=slurm", *options, "seed=0", **environment)
    code, out = command.ended()
    assert code == 0, out
    script = (tmp_path / "bin" / "script.sh").read_text()
    for line in ("--partition=gpu", "--gpus-per-node=1", "--time=30", "--cpus-per-task=1", "--signal="):
        assert f"#SBATCH {line}" in script
    assert str(command.sweep.folder) in script
    assert [job.status for job in command.sweep.jobs] == ["completed"]
    assert (command.sweep.folder / "0" / "output.log").exists()


@pytest.mark.slow
def test_a_stopped_driver_finds_its_queued_jobs_again(tmp_path):
    """The stand-in holds the job back until a file is there: it is queued while the driver goes and comes."""
    environment = stand_in(tmp_path / "bin") | {"HOLD": str(tmp_path / "go")}
    arguments = *QUICK, "hydra/launcher=slurm", "seed=0,1"
    first = Command(tmp_path / "out", *arguments, **environment)
    until(lambda: first.has_ended() or len(list(tmp_path.glob("bin/script_*.sh"))) == 2)
    until(lambda: '"1"' in next(tmp_path.glob("out/sweeps/*/.submitit/jobs.json")).read_text())
    os.kill(first.process.pid, signal.SIGTERM)
    code, out = first.ended()
    assert code == 143, out
    assert "stopped by SIGTERM; its jobs go on in the cluster; to go on: gradloop-train -m" in out
    again = Command(tmp_path / "out", *arguments, "sweep.resume=last", PYTHONUNBUFFERED="1", **environment)
    assert any(line.startswith("run 0: found in the cluster") for line in again.process.stdout)
    (tmp_path / "go").touch()
    code, out = again.ended()
    assert code == 0, out
    assert [job.status for job in again.sweep.jobs] == ["completed"] * 2
    assert len(list(tmp_path.glob("bin/script_*.sh"))) == 2  # none was handed in twice


@pytest.mark.slow
def test_a_job_that_leaves_no_result_is_asked_for(tmp_path):
    environment = stand_in(tmp_path / "bin")
    (tmp_path / "bin" / "srun").write_text("#!/bin/bash\nexit 1\n")
    told = "#!/bin/bash\necho 'JobID|State|NodeList'\nfor job in ${@: -1}; do echo \"$job|NODE_FAIL|\"; done\n"
    (tmp_path / "bin" / "sacct").write_text(told)
    arguments = *QUICK, "hydra/launcher=slurm", "seed=0", "sweep.retries=0"
    command = Command(tmp_path / "out", *arguments, **environment)
    code, out = command.ended()
    assert code == 1, out
    assert [(job.status, job.reason) for job in command.sweep.jobs] == [("failed", "SLURM: NODE_FAIL")]


@pytest.mark.slow
def test_a_clusters_jobs_end_as_they_may(tmp_path):
    (tmp_path / "acting.py").write_text(ACTING)
    acts = ["allow=[acting]", "+callbacks.act._target_=acting.Act", "+callbacks.act.what=kill,raise"]
    command = Command(
        tmp_path / "out", *QUICK, *acts, "seed=0", *LOCAL, "sweep.retries=0", PYTHONPATH=path_with(tmp_path)
    )
    code, out = command.ended()
    assert code == 1, out
    assert [(job.status, (job.reason or "").split(" (acting.py")[0]) for job in command.sweep.jobs] == [
        ("failed", KILLED),
        ("failed", "RuntimeError: the third layer is missing"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "saved"), [("begun", False), ("trained", True)])
def test_ctrl_c_lets_a_clusters_jobs_on_this_machine_save(tmp_path, moment, saved):
    command = Command(tmp_path, *LONG, "seed=0,1", *LOCAL, "hydra.launcher.array_parallelism=1")
    if saved:
        command.until_trained(0)
    else:
        until(lambda: command.has_ended() or list(tmp_path.glob("sweeps/*/.submitit/jobs.json")))
    os.killpg(command.process.pid, signal.SIGINT)
    code, out = command.ended()
    assert code == 130, out
    assert "Traceback" not in out
    first, second = command.sweep.jobs
    assert first.status in ("interrupted", *([] if saved else ["not_run"]))
    assert second.status == "not_run"
    assert not saved or "go on with: gradloop-train resume=" in first.reason
    command.until_nobody_is_left()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("partition=gpu", "partition=gpu: not with hydra.launcher.cluster=local; SLURM has it"),
        ("setup=[date]", "setup=['date']: not with hydra.launcher.cluster=local"),
        ("tasks_per_node=2", "tasks_per_node=2: not with hydra.launcher.cluster=local"),
        ("timeout_min=2", "signal_delay_s=120: expected 1 or more, and less than hydra.launcher.timeout_min=2 has"),
    ],
)
def test_what_this_machine_does_not_do_as_a_cluster_is_one_line(command, line, words):
    ended = command("-m", *QUICK, *LOCAL, f"hydra.launcher.{line}", "seed=0,1")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"hydra.launcher.{words}" in ended.err


def test_no_cluster_is_one_line_and_nothing_is_created(command):
    ended = command("-m", "hydra/launcher=slurm", "seed=0,1")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert 'hydra/launcher=slurm: Could not detect "srun"' in ended.err
    assert list(Path.cwd().iterdir()) == []


def test_a_requeued_job_is_the_same_run_again():
    again = RequeuedJob().checkpoint("the task")
    assert (type(again.function), again.args) == (RequeuedJob, ("the task",))


def test_a_submitit_that_is_not_installed_is_named_with_its_extra(tmp_path, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    ended = command("-m", *QUICK, "hydra/launcher=slurm", "seed=0,1")
    assert (ended.code, ended.err) == (
        2,
        "error: hydra/launcher=slurm needs submitit: pip install 'gradloop[slurm]'\n",
    )
    assert not list(tmp_path.glob("here/outputs/sweeps/*"))
