"""Which precision suits the device."""

from __future__ import annotations

from typing import Any

import torch


def resolve_precision(trainer: dict[str, Any]) -> str:
    """Return the config's `trainer.precision`; for `auto`, `bf16-mixed` where the device computes in bfloat16.

    That is a GPU that does, or a processor with AVX512-BF16, AMX or ARM's BF16. Elsewhere `32-true`: a processor
    without it emulates bfloat16, ten times slower.
    """
    precision, accelerator = str(trainer["precision"]), trainer["accelerator"]
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        computes = torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator != "cpu" and torch.backends.mps.is_available():
        computes = False
    else:
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.10 can't tell yet
        computes = any(there for name, there in capabilities.items() if "bf16" in name)
    return "bf16-mixed" if computes else "32-true"
