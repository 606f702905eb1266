from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from browser import looked_at, needs_browser
from gradloop.commands import compare, explain, train
from gradloop.drawing.page import Page, Section, write_page
from gradloop.drawing.run_page import write_run_page
from gradloop.sweeps.results.files import write_leaderboard
from gradloop.sweeps.results.leaderboard import leaderboard
from gradloop.sweeps.results.page import write_board_page
from gradloop.sweeps.results.picture import draw_sweep
from sweeps_on_disk import make_sweep

EVIL = "<script>alert('한글')</script> | [x](javascript:alert(1)) `*`"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of the digits by the command, with its page."""
    folder = tmp_path_factory.mktemp("pages")
    few = ["data=digits", "trainer.max_epochs=2", "seed=0", "callbacks.progress=null", f"output_dir={folder}"]
    return Path(train.run(few, None, "train")["folder"])


def alone(page: Path) -> str:
    """Return the page's text; it asks nothing of the outside."""
    text = page.read_text()
    assert not re.search(r"<script|<link rel=\"stylesheet|src=\"(?!data:)|url\(|@import", text)
    return text


def test_a_run_has_its_page_and_its_card(run):
    html, card = alone(run / "report.html"), (run / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "gradloop"
    for text in (html, card):
        for title in ("Metrics", "Data", "Model", "Hyperparameters", "How to load it", "Versions"):
            assert title in text
        assert "gradloop.load(" in text
        assert "val/accuracy" in text
        assert "optimizer.lr" in text
    assert "](curves.png)" in card


def test_explain_says_what_it_found_and_the_page_has_it(run, capsys):
    pytest.importorskip("captum")
    explain.run([f"run={run}", "explain.steps=4", "explain.samples=3"], None, "explain")
    said = capsys.readouterr().out
    html = alone(run / "report.html")
    found = json.loads((run / "explain" / "explain.json").read_text())
    for finding in found["findings"]:
        assert finding in said
    assert re.search(r"accuracy [\d.]+ % of 360 test samples \(95 % interval [\d.]+ % to [\d.]+ %\)", said)
    assert "expected calibration error" in said
    assert re.search(r"most often confused: \S+ taken for \S+, \d+ of \d+", said)
    assert html.count("<img ") == len(list(run.glob("*.png"))) + len(list((run / "explain").glob("*.png")))
    low, high = found["intervals"]["test/accuracy"]
    assert f">{low:.4g} to {high:.4g}<" in html


@needs_browser
def test_a_browser_shows_every_picture_at_400_and_1600_pixels(run, tmp_path):
    page = write_run_page(run)
    seen, console = looked_at(page, tmp_path)
    assert console == []
    pictures = page.read_text().count("<img ")
    for width, found in seen.items():
        assert found["across"] <= int(width), "nothing to scroll to the side"
        assert len(found["images"]) == pictures > 0
        assert min(found["images"]) > 100
        assert max(found["shown"]) <= max(int(width), 720)  # a wide one is scrolled in its own frame: 10 pt stay 9 px
        assert found["size"] >= 16
        assert "Hyperparameters" in found["text"]


def test_foreign_text_is_text(tmp_path):
    sweep = make_sweep(tmp_path / "s", [({"model": EVIL}, 0, 0.5, "completed"), ({"model": "b"}, 0, 0.4, "failed")])
    sweep.name = EVIL
    sweep.jobs[1].reason = EVIL
    write_board_page(leaderboard(sweep), sweep.folder)
    html, card = alone(sweep.folder / "report.html"), (sweep.folder / "README.md").read_text()
    assert "&lt;script&gt;" in html
    assert not re.search(r"(?<!\\)<script|\]\(javascript|(?<!\\)`\*", card.replace("```", ""))


@needs_browser
def test_the_page_of_a_sweep_and_its_foreign_text_in_a_browser(tmp_path):
    points = [({"model": f"{EVIL} {k}", "optimizer.lr": 0.1 * (k + 1)}, s, 0.5 + k / 20, "completed")
              for k in range(4) for s in range(2)]  # fmt: skip
    sweep = make_sweep(tmp_path / "s", points)
    draw_sweep(write_leaderboard(sweep))
    seen, console = looked_at(sweep.folder / "report.html", tmp_path)
    assert console == []
    for width, found in seen.items():
        assert found["across"] <= int(width)
        assert len(found["images"]) == 3 - (not (sweep.folder / "search.png").is_file())
        assert EVIL.split(" ")[0] in found["text"]


def test_a_comparison_has_its_page(run, tmp_path, capsys):
    assert compare.main([str(run), "--out", str(tmp_path / "out")]) == 0
    assert "report.html" in capsys.readouterr().out
    assert alone(tmp_path / "out" / "report.html").count("<img ") == 1


def test_code_in_a_card_cannot_end_its_fence(tmp_path):
    write_page(tmp_path, Page("t", "l", [Section("s", code="```\n<script>\n````")]))
    assert (tmp_path / "README.md").read_text().count("`````") == 2


def test_a_page_shows_only_what_was_measured_of_its_best_weights(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    best = json.loads((folder / "summary.json").read_text())["best"]["step"]
    (folder / "explain").mkdir(exist_ok=True)
    (folder / "explain" / "maps.png").write_bytes((folder / "curves.png").read_bytes())
    for step, confidence, shown in ((best, 0.95, True), (best, 0.8, False), (best - 1, 0.95, False)):
        told = {"step": step, "intervals": {"test/accuracy": [0.123, 0.456]}, "bootstrap": {"confidence": confidence}}
        (folder / "evaluation.json").write_text(json.dumps(told))
        (folder / "explain" / "explain.json").write_text(json.dumps({"step": step, "findings": ["all is well"]}))
        text = write_run_page(folder).read_text()
        assert ("0.123 to 0.456" in text) == shown
        assert ("All is well" in text) == (step == best)
