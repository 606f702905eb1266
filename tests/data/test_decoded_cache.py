"""The cache of decoded pictures: used if nothing has changed, else never."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from folders_for_tests import draw, folder_data
from gradloop.data.pictures import decoded


@pytest.fixture
def decodings(monkeypatch):
    """Counts how often a folder is decoded."""
    calls = []
    original = decoded.decode_all
    monkeypatch.setattr(decoded, "decode_all", lambda *args, **kw: calls.append(1) or original(*args, **kw))
    return calls


def test_an_unchanged_folder_is_decoded_once(root, tmp_path, decodings):
    cache = tmp_path / "cache"
    first = folder_data(root, cache=True, cache_dir=str(cache))
    first.setup()
    second = folder_data(root, cache=True, cache_dir=str(cache))
    second.setup()
    assert len(decodings) == 1
    assert first.fingerprint() == second.fingerprint()
    assert len(list(cache.glob("*.u8"))) == 1
    assert not list(cache.glob("*.tmp"))


@pytest.mark.parametrize("change", ["content", "time", "swapped", "name", "new", "gone", "size", "channels", "torn"])
def test_a_stale_cache_is_never_used(root, tmp_path, decodings, change):
    cache = tmp_path / "cache"
    folder_data(root, cache=True, cache_dir=str(cache)).setup()
    changes = {}
    if change == "content":
        before = (root / "red" / "3.png").stat()
        draw(root / "red" / "3.png", (1, 2, 3))
        assert (root / "red" / "3.png").stat().st_mtime_ns != before.st_mtime_ns
    elif change == "time":
        os.utime(root / "red" / "3.png", ns=(1, 1))
    elif change == "swapped":  # a file that is moved keeps its size and the time when it was written
        pair = [root / "red" / name for name in ("3.png", "4.png")]
        for path in pair:
            path.write_bytes(path.read_bytes().ljust(2000, b"\0"))
            os.utime(path, ns=(1, 1))
        folder_data(root, cache=True, cache_dir=str(cache)).setup()
        decodings.clear()
        decodings.append(1)
        for old, new in ((pair[0], root / "kept"), (pair[1], pair[0]), (root / "kept", pair[1])):
            old.rename(new)
    elif change == "name":
        (root / "red" / "3.png").rename(root / "red" / "33.png")
    elif change == "new":
        draw(root / "red" / "new.png")
    elif change == "gone":
        (root / "red" / "3.png").unlink()
    elif change == "torn":
        next(cache.glob("*.u8")).write_bytes(b"short")
    else:
        changes = {"image_size": 6} if change == "size" else {"channels": 1}
    data = folder_data(root, cache=True, cache_dir=str(cache), **changes)
    data.setup()
    assert len(decodings) == 2
    if change == "content":
        colours = {
            name: tuple(picture[:, 0, 0].tolist())
            for split in data.splits.values()
            for name, picture in zip(split.names, split.inputs, strict=True)
        }
        assert colours["red/3.png"] == (1, 2, 3)
    if change not in ("size", "channels"):
        assert len(list(cache.glob("*.u8"))) == 1  # the stale one is gone


def test_two_starts_at_once_decode_once(root, tmp_path, decodings):
    runs = [folder_data(root, cache=True, cache_dir=str(tmp_path / "cache")) for _ in range(4)]
    threads = [threading.Thread(target=run.setup) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decodings) == 1
    assert len({run.fingerprint() for run in runs}) == 1


def test_a_cache_folder_that_cannot_be_written_is_no_obstacle(root, tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    data = folder_data(root, cache=True, cache_dir=str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        data.setup()
    assert "can't be written" in caplog.text
    assert len(data.splits["train"]) == 13


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has other owners")
def test_pictures_are_not_written_where_another_user_reads_them(root, tmp_path, decodings, monkeypatch, caplog):
    cache = tmp_path / "cache"
    folder_data(root, cache=True, cache_dir=str(cache)).setup()
    assert cache.stat().st_mode & 0o777 == 0o700
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    with caplog.at_level(logging.WARNING):
        folder_data(root, cache=True, cache_dir=str(theirs)).setup()
    assert "belongs to another user" in caplog.text
    assert list(theirs.iterdir()) == []


def test_pictures_on_disk_stay_readable_where_another_run_removes_the_file(root, tmp_path):
    cache = tmp_path / "cache"
    data = folder_data(root, cache=True, cache_dir=str(cache), in_memory=False)
    data.setup()
    draw(root / "red" / "one_more.png")
    folder_data(root, cache=True, cache_dir=str(cache)).setup()
    assert len(list(cache.glob("*.u8"))) == 1  # the newer one
    inputs, _ = data.train_batches()[0, 0]
    assert len(inputs)
