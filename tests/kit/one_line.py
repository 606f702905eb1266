"""What a refusal looks like: one line, an exit code, and nothing created."""

from __future__ import annotations

from pathlib import Path


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def assert_one_line(ended, code: int, words: list[str]) -> None:
    assert ended.code == code, ended.err
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.endswith("\n")
    assert ended.out == "" or is_header(ended.out), ended.out
    for word in words:
        assert word in ended.err, f"{word!r} is missing in: {ended.err}"


def is_header(printed: str) -> bool:
    """Return whether it is the one line that a run begins with, before torch is there."""
    return printed.count("\n") == 1 and " · seed " in printed
