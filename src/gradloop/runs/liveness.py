"""Whether the process behind a record still runs."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from gradloop.runs.record import Record


def process_exists(pid: int) -> bool:
    """Whether this machine has a process of that id, whoever owns it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def is_alive(record: Record, folder: Path) -> bool:
    """Whether the process that wrote a "running" record still runs.

    On this machine its process id decides (and its start time, for ids are given out again). A process
    on another machine cannot be asked: it counts as alive while its folder has changed in five minutes.
    """
    writer: dict[str, Any] = {**(record.get("machine") or {}), **record}
    if writer.get("host") not in (None, socket.gethostname()):
        newest = max((file.stat().st_mtime for file in folder.rglob("*") if file.is_file()), default=0.0)
        return time.time() - newest < 300
    pid = writer.get("pid")
    if not pid:
        return False
    if not process_exists(pid):
        return False
    try:  # Linux: field 22 is the start in ticks since boot
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = float(fields[18])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return True
    if state in "ZX":  # dead, and nobody has asked how it ended
        return False
    began = time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")
    return began <= (folder / "summary.json").stat().st_mtime + 2
