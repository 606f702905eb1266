"""A run whose data was named from where it was started is evaluated and explained from anywhere."""

from __future__ import annotations

import json

from one_line import assert_one_line
from small_runs import QUIET

TINY = [*QUIET, "trainer.max_epochs=1", "data.batch_size=16"]


def test_a_relative_table_is_found_from_another_folder(command, tmp_path, monkeypatch):
    table = tmp_path / "here" / "some.csv"
    table.write_text("a,b,y\n" + "".join(f"{n},{-n % 7},{'no' if n % 2 else 'yes'}\n" for n in range(80)))
    line = ["data=csv", "data.file=some.csv", "data.target=y", f"hydra.run.dir={tmp_path / 'run'}"]
    assert command(*TINY, *line).code == 0
    started = json.loads((tmp_path / "run" / "summary.json").read_text())["cwd"]
    assert started == str(tmp_path / "here")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    for program in ("evaluate", "explain"):
        assert command(f"run={tmp_path / 'run'}", program=program).code == 0
    assert list((tmp_path / "other").iterdir()) == []
    table.unlink()
    ended = command(f"run={tmp_path / 'run'}", program="evaluate")
    assert_one_line(ended, 3, ["data.file=some.csv: neither in ", f"{tmp_path / 'other'} nor in {started}"])
