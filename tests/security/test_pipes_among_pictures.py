"""What lies among pictures and is none."""

from __future__ import annotations

import json
import os
import socket

from strangers import QUIET, assert_refused


def test_pipes_and_sockets_among_pictures_are_no_pictures(command, tmp_path, monkeypatch):
    from PIL import Image

    root = tmp_path / "pictures"
    for label, color in (("a", 0), ("b", 255)):
        (root / label).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (8, 8), (color, number, 0)).save(root / label / f"{number}.png")
    os.mkfifo(root / "a" / "pipe.png")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("b/socket.png")
    monkeypatch.chdir(tmp_path / "here")
    data = ("data=image_folder", f"data.root={root}", "model=linear", "trainer.max_epochs=1", "seed=0")
    ended = command(*data, *QUIET, "callbacks.pictures=null", "logger=none", "data.image_size=8", "data.batch_size=4")
    assert ended.code == 0, ended.err
    (run,) = (tmp_path / "here").glob("outputs/train/*")
    assert sum(json.loads((run / "summary.json").read_text())["data"]["samples"].values()) == 24
    for inputs in (root / "a", root / "a" / "0.png"):
        ended = command(f"run={run}", f"explain.inputs={inputs}", program="explain")
        assert ended.code == 0, ended.err
    for pipe in (root / "a" / "pipe.png", root / "b" / "socket.png"):
        ended = command(f"run={run}", f"explain.inputs={pipe}", program="explain")
        assert_refused(ended, 3, "neither a file nor a folder")
