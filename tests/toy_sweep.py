"""A program of some lines that sweeps as gradloop-train does, with jobs that take no time.

`python toy_sweep.py <folder> -m …` runs it on its own; `run_toy` runs it in this process.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradloop.runs.record import machine, write_record
from gradloop.sweeps.launchers import worker_pool
from gradloop.sweeps.sweep_folder import Sweep, read_sweep

CONF = Path(__file__).parents[1] / "conf"
CONFIG = f"""
hydra:
  searchpath: ["file://{CONF}"]
  sweep: {{dir: "${{root}}/sweeps/${{now:%H-%M-%S}}_${{name}}", subdir: "${{hydra.job.num}}"}}
defaults:
  - _self_
  - sweep: grid
  - override hydra/sweeper: gradloop
  - override hydra/job_logging: none
  - override hydra/hydra_logging: none
name: toy
root: ???
seed: null
seeds: null
monitor: val/accuracy
monitor_mode: max
act: learn          # learn | raise | exit | memory | kill | killonce | slow | diverge
epochs: 3
threads: auto
optimizer: {{lr: 0.1}}
model: {{width: 8, layers: [8]}}
trainer: {{devices: 1, strategy: auto}}
callbacks: {{}}
"""


def task(config: Any) -> dict[str, Any]:
    """Pretend to train: the best learning rate is 0.01, wider is better, seeds shift a little."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    record: dict[str, Any] = {
        **{"status": "running", "overrides": list(hydra.overrides.task), "seed": config.seed, "name": config.name},
        **{"monitor": {"metric": "val/accuracy", "mode": "max"}, "started": "2026-01-01T00:00:00", **machine()},
        **{"cores_given": os.environ.get("GRADLOOP_CORES"), "frozen_objects": gc.get_freeze_count()},
    }
    write_record(folder, record)
    with open(folder / "starts", "a") as file:
        file.write(f"{OmegaConf.select(config, 'sweep.continue')}\n")
    print("this is the job speaking")
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    act(config, folder)
    value = 0.9 - 0.1 * abs(math.log10(config.optimizer.lr) + 2) + config.model.width / 1000 + config.seed % 10 / 100
    metrics = {"val/accuracy": value, "test/accuracy": value - 0.01, "test/loss": 1 - value}
    record |= {"status": "completed", "metrics": metrics, "best": {"value": value, "step": 30, "epoch": 2}}
    record |= {"durations": {"total": 0.1, "fit": float(config.model.width)}}
    write_record(folder, record)
    return record


def act(config: Any, folder: Path) -> None:
    if config.act == "raise":
        raise RuntimeError("the third layer is missing\nand more that nobody reads")
    if config.act == "exit":
        sys.exit(3)
    if config.act == "memory":
        raise MemoryError
    if config.act == "kill" or (config.act == "killonce" and len((folder / "starts").read_text().split()) == 1):
        time.sleep(0.3)  # until others are under way
        os.kill(os.getpid(), 9)
    if config.act == "slow" and "TOY_GOES_ON" not in os.environ:  # a sweep to be stopped
        time.sleep(20)
    if config.act == "short":
        time.sleep(1.0)


@dataclass
class Outcome:
    code: int
    sweep: Sweep
    out: str
    err: str

    @property
    def statuses(self) -> list[str]:
        return [job.status for job in self.sweep.jobs]

    def starts(self, number: int) -> list[str]:
        """How often job `number` was started, and whether it was told to go on: `["False", "True"]`."""
        return (self.sweep.folder / str(number) / "starts").read_text().split()


def main() -> None:
    import hydra

    root = Path(sys.argv.pop(1))
    if (root / "conf").exists():
        os.environ["TOY_GOES_ON"] = "1"
    (root / "conf").mkdir(parents=True, exist_ok=True)
    (root / "conf" / "train.yaml").write_text(CONFIG)
    sys.argv.append(f"root={root}")
    launcher = [argument for argument in sys.argv if argument.startswith("hydra")]
    with hydra.initialize_config_dir(str(root / "conf"), version_base="1.3"):
        config = hydra.compose("train", launcher, return_hydra_config=True)
    with worker_pool(config):
        hydra.main(version_base="1.3", config_path=str(root / "conf"), config_name="train")(task)()


def last_sweep(root: Path) -> Path:
    folders = [file.parent for file in root.glob("sweeps/*/sweep.json")]
    return max(folders, key=lambda folder: json.loads((folder / "sweep.json").read_text())["started"])


def run_toy(root: Path, *arguments: str) -> Outcome:
    """Run a sweep in this process and read what it left; exceptions pass through."""
    import io

    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    os.environ["HYDRA_FULL_ERROR"] = "1"
    argv, out, err, code = sys.argv, io.StringIO(), io.StringIO(), 0
    sys.argv = ["gradloop-train", str(root), "-m", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = argv
        GlobalHydra.instance().clear()
    return Outcome(code, read_sweep(last_sweep(root)), out.getvalue(), err.getvalue())


def start_toy(root: Path, *arguments: str, program: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
    """Run a sweep in a process of its own. program: what Python runs, instead of this module."""
    source = Path(__file__).parents[1] / "src"
    paths = os.pathsep.join([str(source), str(source.parent / "tests"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *(program or ["-c", "import toy_sweep; toy_sweep.main()"]), str(root), "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a group of its own, as a terminal gives it
        env={**os.environ, "PYTHONPATH": paths, "HYDRA_FULL_ERROR": "1", "OMP_NUM_THREADS": "1", **environment},
    )


def finish_toy(root: Path, process: subprocess.Popen[str]) -> Outcome:
    out, _ = process.communicate(timeout=120)
    return Outcome(process.returncode, read_sweep(last_sweep(root)), out, "")


def wait_for_sweep(root: Path) -> None:
    """Wait until the newest sweep has a folder."""
    deadline = time.monotonic() + 60
    while not list(root.glob("sweeps/*/sweep.json")) and time.monotonic() < deadline:
        time.sleep(0.05)


def wait_until_running(root: Path, *numbers: int) -> None:
    """Wait until these jobs of the newest sweep have begun."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        starts = [list(root.glob(f"sweeps/*/{number}/starts")) for number in numbers]
        if all(starts):
            time.sleep(0.2)
            return
        time.sleep(0.05)
    raise TimeoutError(f"jobs {numbers} did not begin")


def members_of_session(session: int) -> list[int]:
    """Return the processes that a process with its own session has left (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


if __name__ == "__main__":
    main()
