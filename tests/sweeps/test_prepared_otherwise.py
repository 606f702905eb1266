"""Settings that prepare the same rows otherwise are compared; those of other rows are not."""

from __future__ import annotations

import gradloop


def test_scalers_are_compared_and_other_rows_are_not(tmp_path, capsys):
    rows = "".join(f"{k % 13},{k % 7},{'yes' if k % 13 > 5 else 'no'}\n" for k in range(200))
    (tmp_path / "t.csv").write_text("a,b,y\n" + rows)
    given = ["data=csv", f"data.file={tmp_path / 't.csv'}", "data.target=y", "data.batch_size=16", "seeds=2"]
    given += ["trainer.max_epochs=1", f"output_dir={tmp_path}", "logger=none"]
    for varied in ("data.scaler=standard,minmax", "data.drop=[a],[b]"):
        swept = gradloop.sweep([*given, varied])
        assert "of different data" not in capsys.readouterr().out
        assert any("best" in str(row.values()) for row in swept.rows)
    gradloop.sweep([*given, "data.test_fraction=0.2,0.3"])
    assert "of different data" in capsys.readouterr().out
