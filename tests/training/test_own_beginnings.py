"""What a run leaves to a user's network until it trains, and what an average is before it begins."""

from __future__ import annotations

import pytest
import torch

from gradloop.runs.record import read_record
from small_runs import weights

OWN = ["data=synthetic_classification", "seed=3", "allow=[own_beginnings]"]


@pytest.mark.filterwarnings("ignore:Found 1 module.*in eval mode")
def test_a_trial_leaves_no_trace_in_a_network(train):
    record = train(*OWN, "model._target_=own_beginnings.ActNorm", "trainer.max_epochs=2")
    found = weights(record)
    assert float(found["network.scale"].max()) < 100  # by the first batch; blank samples would give 1e6
    assert int(found["network.frozen.num_batches_tracked"]) == 0  # in evaluation mode as it was built


def test_an_average_that_has_not_begun_is_the_trained_weights(train):
    ends = ["+callbacks.stop._target_=own_beginnings.StopAt", "+callbacks.stop.batches=15", "trainer.max_epochs=9"]
    plain, averaged = train(*OWN, *ends), train(*OWN, *ends, "callbacks=swa")
    assert averaged["metrics"] == plain["metrics"]


def test_a_run_that_its_steps_ended_says_so(command, tmp_path):
    assert command(*OWN, "trainer.max_steps=27", "hydra.run.dir=run").code == 0
    for more in ([], ["trainer.max_epochs=30"]):
        ended = command("resume=run", *more)
        assert ended.code == 2
        assert "trainer.max_steps=27: it has taken 27" in ended.err
    assert command("resume=run", "trainer.max_steps=40").code == 0
    assert read_record(tmp_path / "here" / "run")["status"] == "completed"


def test_matrices_alone_are_orthogonalised(command):
    muon = ["model=linear", "optimizer._target_=torch.optim.Muon", "optimizer.lr=0.01", "trainer.max_epochs=1"]
    assert command(*OWN, *muon, "model.bias=false").code == 0
    ended = command(*OWN, *muon)
    assert ended.code == 2
    assert "2D parameters" in ended.err


def test_a_loss_of_classes_alone_does_not_go_with_mixed_ones(command, tmp_path):
    ended = command("data=digits", "augmentation=mixup", "loss._target_=torch.nn.MultiMarginLoss")
    assert ended.code == 2
    assert "shares of classes" in ended.err
    assert not list((tmp_path / "here").rglob("summary.json"))


def test_an_average_of_a_network_in_half_precision_has_32_bits(train):
    record = train("data=digits", "seed=3", "trainer.precision=bf16-true", "callbacks=ema", "trainer.max_epochs=2")
    assert {weight.dtype for weight in weights(record).values()} == {torch.float32}
