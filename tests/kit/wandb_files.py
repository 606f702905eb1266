"""What an offline run of W&B's has written: LevelDB's log format around one protobuf a record."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7  # bytes; the file begins with a header of as many
FULL, FIRST, LAST = 1, 2, 4


def records(path: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + HEADER])
        piece = content[at + HEADER : at + HEADER + length]
        whole = piece if kind in (FULL, FIRST) else whole + piece
        at += HEADER + length
        if kind in (FULL, LAST):
            yield Record.FromString(whole)


def told(folder: Path) -> list[dict[str, Any]]:
    """Return of each of a run's attempts: id, name, group, tags, notes, config, rows and exit code."""
    found = []
    for path in sorted(folder.glob("wandb/*run-*/*.wandb")):
        this: dict[str, Any] = {"config": {}, "rows": [], "exit": None}
        for record in records(path):
            if record.HasField("run"):
                run = record.run
                this |= {"id": run.run_id, "project": run.project, "name": run.display_name, "group": run.run_group}
                this |= {"tags": list(run.tags), "notes": run.notes}
            for update in [*record.config.update, *record.run.config.update]:
                this["config"][update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
            if record.HasField("history"):
                items = record.history.item
                this["rows"].append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
            if record.HasField("exit"):
                this["exit"] = record.exit.exit_code
        found.append(this)
    return found
