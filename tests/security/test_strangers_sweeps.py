"""What a stranger's sweep folder, or Hydra's part of a stranger's config, would run and write."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from strangers import QUIET, TOY, assert_refused, copied, edit_json, gift

SWEEP = ("-m", *TOY[:3], *QUIET, "logger=none", "seed=0,1")


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """Put a package `evil` on the path that leaves a file when it is imported."""
    (tmp_path / "evil.py").write_text(
        f"import torch\nopen({str(tmp_path / 'imported')!r}, 'w').close()\nclass Net(torch.nn.Linear):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return tmp_path / "imported"


@pytest.fixture(scope="module")
def half_done(tmp_path_factory) -> Path:
    """Return a sweep of two jobs of which the second has not run."""
    from gradloop.commands.train import main

    here, argv = tmp_path_factory.mktemp("sweep"), sys.argv
    before = Path.cwd()
    os.chdir(here)
    sys.argv = ["gradloop-train", *SWEEP]
    try:
        with pytest.raises(SystemExit):
            main()
    finally:
        os.chdir(before)
        sys.argv = argv
    (folder,) = (here / "outputs" / "sweeps").iterdir()
    for path in (folder / "1" / "checkpoints").iterdir():
        path.unlink()
    (folder / "1" / "summary.json").unlink()
    edit_json(folder / "sweep.json", lambda plan: plan["jobs"][1].update(status="not_run"))
    return folder


@pytest.fixture
def sweep(half_done, tmp_path) -> Path:
    return copied(half_done, tmp_path / "gift")


def resume(command, folder, *more):
    return command(*SWEEP, *more, f"sweep.resume={folder}")


def test_an_honest_sweep_is_gone_on_with(sweep, command):
    ended = resume(command, sweep)
    assert ended.code == 0, ended.err
    assert json.loads((sweep / "1" / "summary.json").read_text())["status"] == "completed"


RECORDED = {
    "allows itself": (["allow=[evil]", "model._target_=evil.Net"], "evil.Net"),
    "a target": (["+callbacks.x._target_=evil.Net"], "evil.Net"),
    "the environment": (["+hydra.job.env_set.PATH=/evil"], "hydra.job.env_set"),
    "another folder": (["hydra.sweep.dir=/tmp/elsewhere_of_gradloop"], "hydra.sweep.dir"),
    "no key": (["nosuchkey=3"], "nosuchkey"),
}


@pytest.mark.parametrize("attack", RECORDED)
def test_recorded_jobs_are_checked_against_this_command_line(attack, sweep, command, canary):
    lines, word = RECORDED[attack]
    edit_json(sweep / "sweep.json", lambda plan: plan["jobs"][1]["overrides"].extend(lines))
    assert_refused(resume(command, sweep), 2, "run 1", word)
    assert not canary.exists()
    assert not Path("/tmp/elsewhere_of_gradloop").exists()


def test_what_this_command_line_allows_reaches_the_jobs(tmp_path, command, canary):
    Path(tmp_path / "mine.py").write_text(
        "from gradloop.networks.linear import Linear\nclass Net(Linear):\n    pass\n"
    )
    ended = command(*SWEEP, "model._target_=mine.Net", "model.bias=true")
    assert ended.code == 0, ended.err + ended.out
    records = (tmp_path / "here").glob("outputs/sweeps/*/*/summary.json")
    assert [json.loads(path.read_text())["status"] for path in records] == ["completed"] * 2


PLANS = {
    "a folder": (lambda plan: plan["jobs"][1].update(number="../../elsewhere"), "number"),
    "no overrides": (lambda plan: plan["jobs"][1].update(overrides=None), "overrides"),
    "a number": (lambda plan: plan["jobs"].append(3), "3"),
    "twice": (lambda plan: plan["jobs"].append(plan["jobs"][0]), "two jobs"),
    "a command": (lambda plan: plan.update(command="rm -rf ~;"), "rm -rf"),
    "a list": (lambda plan: plan["jobs"][1]["values"].update(seed=[1]), "values"),
    "keys": (lambda plan: plan.update(keys=[1]), "keys"),
}


@pytest.mark.parametrize("attack", PLANS)
def test_a_plan_of_another_shape_is_one_line(attack, sweep, command):
    change, word = PLANS[attack]
    edit_json(sweep / "sweep.json", change)
    assert_refused(resume(command, sweep), 4, "sweep.json", word)


def test_a_jobs_folder_is_its_number(sweep, command, tmp_path):
    edit_json(sweep / "sweep.json", lambda plan: plan["jobs"][1].update(folder=str(tmp_path / "elsewhere")))
    assert resume(command, sweep).code == 0
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["leaderboard.csv", ".sweep.lock", "1", "1/train.log", "sweep.json.1.tmp"])
def test_links_out_of_a_sweep_are_refused(name, sweep, command, tmp_path):
    target = tmp_path / "precious"
    target.write_text("mine")
    link = sweep / name
    if link.is_dir():
        link.rename(tmp_path / "moved")
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    assert_refused(resume(command, sweep), 4, name, str(target))
    assert target.read_text() == "mine"


NODES = {
    "env_set": ({"job": {"env_set": {"PATH": "/evil"}}}, "hydra.job.env_set={PATH: /evil}"),
    "env_copy": ({"job": {"env_copy": ["HOME"]}}, "hydra.job.env_"),
    "env_copy of nothing": ({"job": {"env_copy": ["NO_SUCH_NAME"]}}, "hydra.job.env_copy"),
    "socket": (
        {"job_logging": {"version": 1, "handlers": {"x": {"class": "logging.handlers.SocketHandler"}}}},
        "logging.handlers.SocketHandler",
    ),
    "stream": (
        {
            "job_logging": {
                "version": 1,
                "handlers": {"x": {"class": "logging.StreamHandler", "stream": "ext://evil"}},
            }
        },
        "ext://evil",
    ),
    "file": (
        {"job_logging": {"version": 1, "handlers": {"x": {"class": "logging.FileHandler", "filename": "../../x"}}}},
        "filename",
    ),
    "file by the job's name": (
        {
            "job": {"name": "../../../x"},
            "job_logging": {
                "version": 1,
                "handlers": {
                    "x": {
                        "class": "logging.FileHandler",
                        "filename": "${hydra.runtime.output_dir}/${hydra.job.name}.log",
                    }
                },
            },
        },
        "filename",
    ),
    "file of the sweep": (
        {"hydra_logging": {"version": 1, "handlers": {"x": {"class": "logging.FileHandler", "filename": "x.log"}}}},
        "filename",
    ),
    "output_subdir": ({"output_subdir": "../../x"}, "hydra.output_subdir"),
}


@pytest.mark.parametrize("how", [["seed=0"], ["-m", "seed=0,1"]], ids=["run", "sweep"])
@pytest.mark.parametrize("attack", NODES)
def test_hydras_part_of_a_config_changes_nothing_outside_of_a_run(attack, how, command, canary, tmp_path):
    node, word = NODES[attack]
    arguments = gift(tmp_path, hydra=node)
    assert_refused(command(*arguments[:2], *how, arguments[2], *TOY[:3]), 2, word)
    assert not canary.exists()
    assert list((tmp_path / "here").iterdir()) == []


def test_a_search_space_sets_no_environment(command, tmp_path):
    options, path, experiment = gift(tmp_path, sweep={"search_space": {"+hydra.job.env_set.PATH": "/evil,/worse"}})
    ended = command(options, path, *SWEEP, experiment)
    assert_refused(ended, 2, "hydra.job.env_set")
    assert not list((tmp_path / "here").glob("outputs/sweeps/*/0"))


def test_a_search_space_allows_nothing(command, tmp_path, canary):
    options, path, experiment = gift(tmp_path, sweep={"search_space": {"+callbacks.x": [{"_target_": "evil.Net"}]}})
    assert_refused(command(options, path, *SWEEP, experiment), 2, "evil.Net")
    assert not canary.exists()
