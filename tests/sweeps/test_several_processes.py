"""`accelerator=ddp_cpu`: two processes are one run, and compute what one process does on batches twice as large."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import gradloop
from gradloop.runs.record import read_record


def run(root: Path, *arguments: str) -> Path:
    """Run the command in a fresh process, as Lightning starts the second one from its command line."""
    arguments = (*arguments, f"output_dir={root}", "threads=1")
    script = root / "gradloop_train.py"
    root.mkdir()
    script.write_text("from gradloop.commands.train import main\n\nif __name__ == '__main__':\n    main()\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GRADLOOP", "LOCAL_"))}
    ended = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, env=environment, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    (record,) = root.glob("*/*/summary.json")  # one run, one folder
    return record.parent


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["synthetic_classification", "linear_regression"])
def test_two_processes_equal_one_on_the_doubled_batch(tmp_path, problem):
    per_process, epochs = {"synthetic_classification": (32, 3), "linear_regression": (8, 20)}[problem]
    common = [f"data={problem}", "seed=7", f"trainer.max_epochs={epochs}"]
    if problem == "linear_regression":
        common += ["model=linear", "data.points=80"]
    one = run(tmp_path / "one", *common, f"data.batch_size={2 * per_process}")
    two = run(tmp_path / "two", *common, f"data.batch_size={per_process}", "accelerator=ddp_cpu")

    assert read_record(two)["devices"]["processes"] == 2
    a, b = (read_record(folder)["metrics"] for folder in (one, two))
    assert a.keys() == b.keys()
    assert {name: pytest.approx(value, rel=1e-4, abs=1e-6) for name, value in a.items()} == b
    weights = [gradloop.load(folder, checkpoint="last").state_dict() for folder in (one, two)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    histories = [(folder / "metrics.csv").read_text().splitlines() for folder in (one, two)]
    assert len(histories[0]) == len(histories[1]) == epochs + 1
    assert len(list(two.glob("*/events.out.tfevents.*"))) == len(list(one.glob("*/events.out.tfevents.*"))), (
        "the second process logs nothing"
    )
    assert yaml.safe_load((two / ".hydra" / "config.yaml").read_text())["seed"] == 7
