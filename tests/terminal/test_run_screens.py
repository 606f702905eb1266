"""What a run shows: a header at once, a bar that fits, and an end that says what was found and what to do next."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from gradloop.runs import screen
from terminal import on_a_terminal

FAST = ["data=digits", "seed=0", "callbacks.tensorboard=null"]


def test_the_header_is_there_before_torch_is(tmp_path):
    code = "import sys; sys.modules['torch'] = None; from gradloop.commands.train import main; main()"
    arguments = ["data=digits", "optimizer.lr=0.01", "seed=3", "trainer.max_epochs=5"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(screen.__file__).parents[2])},
    )
    assert done.stdout == "digits · SimpleNN · Adam lr=0.01 · 5 epochs · seed 3\n"
    assert "torch" in done.stderr  # that is as far as it comes


def test_the_header_is_completed_and_the_end_begins_with_what_was_monitored(command):
    ended = command(*FAST, "trainer.max_epochs=3", "summary=true", "callbacks=lr_finder")
    lines = ended.out.splitlines()
    assert lines[0] == "digits · SimpleNN · Adam lr=0.001 · 3 epochs · seed 0"
    assert lines[1] == "1149/288/360 · 4,810 parameters · cpu, 1 thread, float32 · best = val/accuracy"
    assert lines[2].startswith("folder: ")
    assert lines[3].startswith("curves: tensorboard --logdir ")
    assert any("SimpleNN" in line and "Params" not in line for line in lines[4:8])  # the layers
    assert any(
        re.search(r"Linear .* 8\.2 K +\| \[1, 64\] +\| \[1, 64\]", line) for line in lines
    )  # 2 · 64 · 64 FLOPs
    end = next(index for index, line in enumerate(lines) if line.startswith("  val/accuracy"))
    assert re.fullmatch(r"  val/accuracy +0\.\d{2,4}  best, epoch [123] of 3", lines[end])
    assert lines[end + 1].startswith("  test/accuracy")
    assert all(re.search(r" [\d.e+-]{1,9}$", line) for line in lines[end + 1 :] if line.startswith("  "))
    rest = "\n".join(lines[end:])
    assert re.search(r"^fit [\d.]+ s, test [\d.]+ s$", rest, re.M)
    assert re.search(r"^found: optimizer.lr=0\.\d+$", rest, re.M)
    assert "pictures: curves.png, lr_finder.png" in lines
    assert any(line.startswith("next: gradloop-explain run=outputs/train/") for line in lines[-2:])


def test_profiling_says_where_it_put_what_it_found(command):
    ended = command("debug=profile", "seed=0", "callbacks.tensorboard=null")
    assert "profile: profile/operators.txt, profile/trace.json.gz" in ended.out


@pytest.mark.parametrize(("language", "words"), [("en", ("Look: ", "Try: ")), ("ko", ("볼 것: ", "해보기: "))])
def test_a_lesson_ends_with_what_to_look_at(language, words, command):
    ended = command(
        "experiment=lesson/1_autograd", "trainer.max_epochs=2", "callbacks.tensorboard=null", f"lang={language}"
    )
    for word in words:
        assert re.search(rf"^{word}.{{60,}}", ended.out, re.M)
    assert "pictures: curves.png, lesson.png" in ended.out


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_lesson_has_both_paragraphs_in_both_languages(number, language):
    (file,) = Path(screen.choice_file("experiment/lesson", "x")).parent.glob(f"{number}_*.yaml")
    look, _, attempt = screen.lesson(f"lesson/{file.stem}", language)
    assert "lesson.png" in look
    assert not any("\n" in text or "#" in text for text in (look, attempt))


LESSONS = sorted(path.stem for path in Path(screen.choice_file("experiment/lesson", "x")).parent.glob("*.yaml"))


@pytest.mark.parametrize("name", [*(pytest.param(n, marks=pytest.mark.slow) for n in LESSONS[:-1]), LESSONS[-1]])
def test_a_korean_lessons_pictures_hold_no_english_sentence(name, command, monkeypatch):
    drawn, save = [], Figure.savefig

    def spied(figure, *given, **more):
        drawn.append([text.get_text() for text in figure.findobj(Text) if text.get_visible()])
        return save(figure, *given, **more)

    monkeypatch.setattr(Figure, "savefig", spied)
    arguments = [f"experiment=lesson/{name}", "lang=ko", "callbacks.curves=null", "callbacks.tensorboard=null"]
    ended = command(*arguments, "trainer.max_epochs=2")
    assert ended.code == 0, ended.err
    texts = {text for figure in drawn for text in figure}
    assert any(re.search("[가-힣]", text) for text in texts)
    assert not [text for text in texts if re.search(r"[a-z]{3,} [a-z]{2,}", text)]


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_the_bar_fits_and_metrics_give_way_first(columns, tmp_path):
    knobs = ["callbacks.progress.every_seconds=0.01", "trainer.max_epochs=30"]
    code, shown = on_a_terminal(columns, *FAST, *knobs, cwd=tmp_path)
    assert code == 0, shown
    lines = shown.splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= columns
    bars = [line.rstrip() for line in lines if line.startswith("epoch ━")]
    whole = re.compile(r"epoch [━╸╺ ]{20} +\d+/30 (\d\d:\d\d|--:--|\d:\d\d:\d\d)( +[a-z]+/[a-z0-9]+ [\d.e-]+)*")
    assert bars
    assert all(whole.fullmatch(line) for line in bars), [line for line in bars if not whole.fullmatch(line)][:3]
    assert any("val/accuracy" in line for line in bars)
    assert any("train/accuracy" in line for line in bars) == (columns > 100)
    lasting = [
        line for line in lines if re.match(r"epoch \d+/30  [\d.]+ s, [\d.:]+ s left  val/accuracy 0\.\d+", line)
    ]
    assert lasting


def test_plain_output_tells_the_time_that_is_left(command):
    ended = command(*FAST, "trainer.max_epochs=4", "callbacks.progress.every_seconds=0")
    lines = ended.err.splitlines()
    assert re.match(r"epoch 2/4  [\d.]+ s, [\d.]+ s left  val/accuracy 0\.\d+  ", lines[1])
    assert re.match(r"epoch 4/4  [\d.]+ s  val/accuracy", lines[-1])


def test_an_epoch_is_told_when_it_ends_not_an_epoch_later(command, tmp_path, monkeypatch):
    (tmp_path / "own_sayer.py").write_text(
        "import sys\nimport lightning.pytorch as pl\n\n"
        "class Sayer(pl.Callback):\n"
        "    def on_train_batch_start(self, trainer, module, batch, number):\n"
        "        if number == 0:\n"
        "            print('begins', trainer.current_epoch + 1, file=sys.stderr)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    knobs = ["callbacks.progress.every_seconds=0", "+callbacks.sayer._target_=own_sayer.Sayer"]
    ended = command(*FAST, "trainer.max_epochs=3", *knobs)
    assert ended.code == 0, ended.err
    told = [" ".join(line.split()[:2]) for line in ended.err.splitlines() if line.startswith(("begins", "epoch"))]
    assert told == ["begins 1", "epoch 1/3", "begins 2", "epoch 2/3", "begins 3", "epoch 3/3"]
