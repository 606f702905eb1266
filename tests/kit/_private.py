"""What a package keeps behind its public names."""

from __future__ import annotations

import torch
from torch import nn


class Behind(nn.Module):
    def __init__(self, in_features: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_features, num_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)
