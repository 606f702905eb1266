"""A run whose data have changed since: it does not go on as if nothing were, and its numbers are doubted."""

from __future__ import annotations

import pytest

from one_line import assert_one_line

pytest.importorskip("pyarrow")
pytest.importorskip("captum")


OWN = """
import lightning.pytorch as pl
import torch

class Small(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
    def step(self, name, batch):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(self.layer(batch[0]), batch[1])
        self.log(f"{name}/loss", loss)
        return loss
    def training_step(self, batch, number):
        return self.step("train", batch)
    def validation_step(self, batch, number):
        self.step("val", batch)
    def test_step(self, batch, number):
        self.step("test", batch)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""


@pytest.fixture
def run(tmp_path, command):
    file = tmp_path / "t.csv"
    file.write_text("a,b,y\n" + "".join(f"{row % 13},{row % 7},{int(row % 13 > 6)}\n" for row in range(200)))
    given = ["data=csv", f"data.file={file}", "data.target=y", "data.batch_size=32", "trainer.max_epochs=2", "seed=0"]
    ended = command(*given)
    assert ended.code == 0, ended.err
    return file


def test_nothing_is_said_of_data_that_are_the_same(run, command):
    assert command("resume=last", "trainer.max_epochs=3").code == 0
    assert "changed" not in command("run=last", program="evaluate").out


@pytest.mark.parametrize("change", ["a row more", "another value"])
def test_a_run_does_not_go_on_with_other_data(change, run, command):
    text = run.read_text()
    run.write_text(text + "3,3,0\n" if change == "a row more" else text.replace("\n5,5,", "\n5,6,", 1))
    how = "samples (train/val/test) then" if change == "a row more" else "other values in as many samples"
    refused = command("resume=last", "trainer.max_epochs=3")
    assert (refused.code, refused.err.count("\n")) == (3, 1), refused.err
    assert all(words in refused.err for words in ("data have changed", how, "init_from="))
    assert "warning: the data have changed since the run" in command("run=last", program="evaluate").out
    shown = command("run=last", program="explain")
    assert shown.code == 0, shown.err
    assert "warning: the data have changed since the run" in shown.out


def test_an_own_modules_data_are_looked_at_too(tmp_path, command):
    file = tmp_path / "t.csv"
    rows = [f"{row % 13},{row % 7},{int(row % 13 > 6)}" for row in range(200)]
    file.write_text("\n".join(["a,b,y", *rows]) + "\n")
    own = ["module._target_=small_own.Small", "allow=[small_own]", "data=csv", f"data.file={file}", "data.target=y"]
    (tmp_path / "here" / "small_own.py").write_text(OWN)
    ended = command(*own, "data.batch_size=32", "trainer.max_epochs=1", "seed=0", "logger=none")
    assert ended.code == 0, ended.err
    file.write_text("\n".join(["a,b,y", *rows, "3,3,0"]) + "\n")
    assert "warning: the data have changed" in command("run=last", "allow=[small_own]", program="evaluate").out
    refused = command("resume=last", "trainer.max_epochs=2", "allow=[small_own]")
    assert (refused.code, refused.err.count("\n")) == (3, 1), refused.err


@pytest.mark.parametrize("scheduler", ["cosine", "linear", "one_cycle", "cosine scheduler.warmup=5"])
def test_a_schedule_of_the_whole_run_has_its_end_where_it_was_planned(scheduler, command):
    given = [f"scheduler={scheduler.split()[0]}", *scheduler.split()[1:], "seed=0"]
    assert command(*given, "trainer.max_epochs=2").code == 0
    assert_one_line(command("resume=last", "trainer.max_epochs=4"), 2, ["max_epochs: 2 -> 4", "planned for 2"])
