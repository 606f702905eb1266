"""A sweep's runs on Ray: a cluster of two nodes on this machine, one of which goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import gradloop
from gradloop.runs.record import read_record
from saved_weights import weights_of
from sweeps.test_engines import QUICK, Command
from toy_sweep import environment

RAY = "hydra/launcher=ray"
PATIENT = "hydra.launcher.timeout_s=240"  # other tests keep this machine busy
TOY = ["data=linear_regression", "model=linear", "logger=none", "threads=1", "callbacks.curves=null"]
CLUSTER = """
import os, sys
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
node = cluster.add_node(num_cpus=1)
print("at", cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(node, allow_graceful=False)
    print("removed", flush=True)
cluster.shutdown()
"""


@pytest.fixture
def cluster() -> Iterator[subprocess.Popen[str]]:
    """Two nodes of a core each; a line on its input takes the second away."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-c", CLUSTER], text=True, env=environment(), **pipes)
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait(60)


def address_of(cluster: subprocess.Popen[str]) -> str:
    return next(line for line in cluster.stdout if line.startswith("at ")).split()[1]


@pytest.mark.slow
def test_runs_of_a_node_that_goes_away_end_on_the_other_with_the_bits_of_their_lone_runs(
    tmp_path, cluster, monkeypatch
):
    often = ["trainer.max_epochs=3000", "callbacks.checkpoints.every_seconds=0.2", "optimizer.lr=0.01,0.02"]
    joined = [RAY, PATIENT, f"hydra.launcher.address={address_of(cluster)}"]
    command = Command(tmp_path / "swept", *TOY, *often, "seed=1,2", *joined)
    command.until_trained(0, 1)
    cluster.stdin.write("remove\n")
    cluster.stdin.flush()
    code, out = command.ended()
    assert code == 0, out
    sweep = command.sweep
    assert [job.status for job in sweep.jobs] == ["completed"] * 4
    assert "was lost and tried again: Ray: " in out
    assert "Traceback" not in out
    monkeypatch.chdir(tmp_path)
    for job in sweep.jobs:
        lone = gradloop.train([*job.overrides, f"output_dir={tmp_path}/lone"])
        swept = read_record(sweep.job_folder(job))
        assert swept["metrics"] == lone["metrics"]
        one, other = weights_of(swept), weights_of(lone)
        assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.slow
def test_ctrl_c_lets_each_run_on_a_ray_of_its_own_save(tmp_path):
    long = [*TOY, "trainer.max_epochs=1000000", "callbacks.checkpoints.every_seconds=0.1"]
    command = Command(tmp_path, *long, "seed=range(6)", RAY, PATIENT)
    command.until_trained(0)
    os.killpg(command.process.pid, signal.SIGINT)
    code, out = command.ended()
    assert code == 130, out
    jobs = command.sweep.jobs
    assert jobs[0].status == "interrupted"
    assert jobs[0].reason.startswith("stopped by Ctrl-C; go on with")
    assert {job.status for job in jobs} == {"interrupted", "not_run"}
    assert "Traceback" not in out
    command.until_nobody_is_left()


@pytest.mark.slow
def test_bad_runs_are_pruned_on_ray(tmp_path):
    space = "optimizer.lr=tag(log,interval(1e-5,1e-1))", "sweep.n_trials=6", "sweep.startup_trials=2"
    command = Command(tmp_path, "sweep=optuna_pruned", *TOY, *space, "seed=0", "trainer.max_epochs=10", RAY, PATIENT)
    code, out = command.ended()
    assert code == 0, out
    assert {job.status for job in command.sweep.jobs} == {"completed", "pruned"}


@pytest.mark.slow
def test_a_cluster_that_does_not_see_the_folder_or_has_no_room_is_told_at_once(tmp_path, cluster):
    joined = [RAY, PATIENT, f"hydra.launcher.address={address_of(cluster)}"]
    code, out = Command(tmp_path, *QUICK, *joined, "hydra.launcher.num_cpus=64").ended()
    *header, told = out.splitlines()
    assert (code, len(header)) == (2, 2), out
    assert told.startswith("error: hydra/launcher=ray: no cluster for a run that needs {'num_cpus': 64")
    assert not list(Path(tmp_path).glob("sweeps/*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hydra.launcher.address=127.0.0.1:1"], "hydra.launcher.address=127.0.0.1:1: no Ray answered within 30 s"),
        (["hydra.launcher.address=here"], "hydra.launcher.address=here: expected auto, or a cluster's host:port"),
        (["hydra.launcher.num_cpus=0"], "hydra.launcher.num_cpus=0: expected a number, at least 0.001"),
    ],
)
def test_what_ray_cannot_do_is_one_line_and_nothing_is_created(tmp_path, command, arguments, words):
    ended = command("-m", *QUICK, RAY, *arguments, "seed=0,1")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert words in ended.err
    assert not list(tmp_path.glob("here/outputs/sweeps/*"))


def test_a_ray_that_is_not_installed_is_named_with_its_extra(tmp_path, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    ended = command("-m", *QUICK, RAY, "seed=0,1")
    assert (ended.code, ended.err) == (2, "error: hydra/launcher=ray needs Ray: pip install 'gradloop[ray]'\n")
    assert not list(tmp_path.glob("here/outputs/sweeps/*"))
