"""How Lightning reads and writes checkpoints here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from gradloop.runs.checkpoint_files import read_checkpoint, save_atomically


class CheckpointFiles(CheckpointIO):
    """Writes whole files or none, reads plain tensors only. `in_memory`: a checkpoint that was read already."""

    in_memory: ClassVar[dict[str, Any] | None] = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save_atomically(lambda temporary: torch.save(checkpoint, temporary), Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        if CheckpointFiles.in_memory is not None:
            checkpoint, CheckpointFiles.in_memory = CheckpointFiles.in_memory, None
            return checkpoint
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
