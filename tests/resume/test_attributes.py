"""What a user's code keeps in plain attributes: with the best weights, and what can't be kept."""

from __future__ import annotations

import json

import pytest

from small_runs import QUIET

OWN = [*QUIET, "logger=none", "allow=[own_attributes]", "threads=1"]


@pytest.mark.parametrize("network", ["Net", "Tired"])
def test_a_network_is_evaluated_with_what_it_had_at_its_best(network, command, tmp_path):
    net = ["data=digits", f"model._target_=own_attributes.{network}", "trainer.max_epochs=5", "hydra.run.dir=net"]
    assert command(*OWN, *net, "loss=cross_entropy").code == 0
    record = json.loads((tmp_path / "here" / "net" / "summary.json").read_text())
    ended = command("run=net", "allow=[own_attributes]", program="evaluate")
    assert ended.code == 0, ended.err
    evaluation = json.loads((tmp_path / "here" / "net" / "evaluation.json").read_text())
    assert evaluation["metrics"]["test/loss"] == record["metrics"]["test/loss"]


def test_what_can_not_be_kept_is_told_once(command):
    ended = command(*OWN, "model._target_=own_attributes.Unknown", "trainer.max_epochs=3")
    assert ended.code == 0, ended.err
    told = [line for line in ended.err.splitlines() if line.startswith("warning: Unknown.objects")]
    assert len(told) == 1
    assert "entries of this list" in told[0]
