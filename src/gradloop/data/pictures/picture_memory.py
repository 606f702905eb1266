"""Where pictures are kept: in memory or on disk, in main memory or on the GPU."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from gradloop.data.augmentation.crop_flip import RandomCrop, inside
from gradloop.data.batches import Split
from gradloop.data.pictures.memory import free_memory, megabytes
from gradloop.data.pictures.picture_source import Part, StoredPictures, read_into_memory

log = logging.getLogger(__name__)

MOST_PADDING = 1.6  # a kept margin may cost so many times the bytes: with all else, memory stays below twice them


def keep(
    parts: dict[str, Part], *, in_memory: str | bool, crop: RandomCrop, channels_last: bool
) -> tuple[dict[str, Any], Tensor | None]:
    """Return each part's pictures, and the training part's with its margin if that is kept.

    in_memory: `auto` reads them into memory if they take less than half of what is free, and says so.
    """
    distinct: dict[str, Part] = {}  # a test part that is the validation part is read once
    for name, part in parts.items():
        if not any(part is other for other in distinct.values()):
            distinct[name] = part
    if not _fits(distinct, in_memory):
        return {name: StoredPictures(part, channels_last=channels_last) for name, part in parts.items()}, None
    margin = crop.padding
    if distinct["train"].bytes(margin) > MOST_PADDING * distinct["train"].bytes():
        margin = 0  # padded batch by batch instead
    stores = read_into_memory(distinct, margins={"train": margin}, mode=crop.mode, channels_last=channels_last)
    padded = stores["train"] if margin else None
    stores["train"] = inside(stores["train"], margin)
    same = {id(part): stores[name] for name, part in distinct.items()}
    return {name: same[id(part)] for name, part in parts.items()}, padded


def _fits(parts: dict[str, Part], in_memory: str | bool) -> bool:
    needed, free = sum(part.bytes() for part in parts.values()), free_memory()
    fits = needed < free / 2 if in_memory == "auto" else bool(in_memory)
    log.info(
        "data: %s pictures of %s take %s, %s are free: kept %s (data.in_memory=%s)",
        f"{sum(len(part.rows) for part in parts.values()):,}",
        " x ".join(map(str, next(iter(parts.values())).source.shape)),
        megabytes(needed),
        megabytes(free),
        "in memory" if fits else "on disk",
        str(in_memory).lower(),
    )
    return fits


def on_device(
    splits: dict[str, Split], padded: Tensor | None, *, device: torch.device, force: bool
) -> tuple[dict[str, Split], Tensor | None]:
    """Move the pictures and labels to a GPU if they take less than half of its free memory, or anyway with `force`.

    Where memory is short they stay as they are, and a warning says so.
    """
    whole = {name: split.inputs for name, split in splits.items()}
    if padded is not None:
        whole["train"] = padded
    needed, free = sum(store.numel() for store in whole.values()), torch.cuda.mem_get_info(device)[0]
    try:
        if not force and needed > free / 2:
            raise torch.OutOfMemoryError
        moved = {name: store.to(device) for name, store in whole.items()}
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        log.warning(
            "data: %s of pictures do not fit on %s beside the training (%s free): they stay in main memory",
            megabytes(needed),
            device,
            megabytes(free),
        )
        return splits, padded
    if padded is not None:
        margin = (padded.shape[2] - splits["train"].inputs.shape[2]) // 2
        padded = moved["train"]
        moved["train"] = inside(padded, margin)
    log.info("data: the pictures lie on %s", device)
    return {name: Split(moved[name], split.targets.to(device), split.names) for name, split in splits.items()}, padded
