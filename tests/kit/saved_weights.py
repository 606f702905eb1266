"""The weights that a run has left."""

from __future__ import annotations

from pathlib import Path

import torch

from gradloop.runs.record import Record


def weights_of(run: Record, name: str = "last") -> dict[str, torch.Tensor]:
    """Return the network's weights in a run's checkpoint."""
    path = Path(run["folder"]) / "checkpoints" / f"{name}.ckpt"
    state = torch.load(path, weights_only=True)["state_dict"]
    return {key.removeprefix("network."): value for key, value in state.items()}
