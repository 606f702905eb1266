"""Lightning without its messages."""

from __future__ import annotations

import logging
import os
import warnings

import torch


def quiet_libraries() -> None:
    """Send what Lightning has to say to the log file instead of the terminal; let it not slow every step."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logger = logging.getLogger(name)
        logger.handlers = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
        logger.propagate = True
        logger.setLevel(logging.INFO)
    if not torch.cuda.is_available():
        # every optimizer step asks whether there is a GPU; where none is, Lightning's way to ask takes 0.25 ms
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
