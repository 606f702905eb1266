"""Memory that is kept: a tensor of a size that was there before needs no new pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from gradloop.training.machine import keep_freed_pages

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64, 1024, 1024)  # 256 MB: 65,536 pages of 4 kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
usual = faults()
assert keep_freed_pages()
print(usual, [faults() for _ in range(12)][-1])  # glibc needs some turns until a freed block serves an aligned one
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_pages_serve_the_next_tensor() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    usual, kept = map(int, done.stdout.split())
    assert usual > 100, "the system's pages are larger than this test expects"
    assert kept < usual / 10


def test_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradloop.training.machine import keep_freed_pages

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_pages()
