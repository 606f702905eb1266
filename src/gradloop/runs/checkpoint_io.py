"""How Lightning reads and writes checkpoints here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from gradloop.errors import CheckpointError
from gradloop.runs.checkpoint_files import read_checkpoint, save_atomically
from gradloop.runs.folder import is_inside


class CheckpointFiles(CheckpointIO):
    """Writes whole files or none, reads plain tensors only; writes and removes inside the run's folder alone.

    in_memory: a checkpoint that was read already. folder: the run's.
    """

    folder: ClassVar[Path | None] = None
    in_memory: ClassVar[dict[str, Any] | None] = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self._check(Path(path))
        save_atomically(lambda temporary: torch.save(checkpoint, temporary), Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        if CheckpointFiles.in_memory is not None:
            checkpoint, CheckpointFiles.in_memory = CheckpointFiles.in_memory, None
            return checkpoint
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        self._check(Path(path))
        Path(path).unlink(missing_ok=True)

    def _check(self, path: Path) -> None:
        """Refuse a path outside of the run: a resumed callback's state may hold one that a stranger has chosen."""
        if self.folder is not None and not is_inside(self.folder, path):
            raise CheckpointError(f"{path}: expected a place inside the run's folder, {self.folder}")
