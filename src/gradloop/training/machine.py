"""What a run computes with: threads, precision, memory, and libraries that keep quiet."""

import ctypes
import logging
import os
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import HalfPrecision
from torch import nn

from gradloop.errors import ConfigError
from gradloop.process import cores

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
HALF = ("bf16-true", "16-true")
LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning")
SMALL = 5_000_000  # multiply-adds a batch, about; below this, a second thread costs more than it gives


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


class HalfNetwork(HalfPrecision):
    """bf16-true or 16-true of the network and its inputs alone: what is measured goes by the targets as they are."""

    def convert_module(self, module: nn.Module) -> nn.Module:
        module = super().convert_module(module)
        if isinstance(loss := getattr(module, "loss", None), nn.Module):
            loss.float()  # it is given float32, and its weights of the classes have to be
        return module

    def convert_input(self, data: Any) -> Any:
        return (super().convert_input(data[0]), *data[1:]) if isinstance(data, tuple | list) else data


def precision_of(settings: dict[str, Any], *, own: bool) -> dict[str, Any]:
    """Return what a Trainer is given for `trainer.precision`. own: it trains a LightningModule of the user's own."""
    precision = resolve_precision(settings)
    half: Any = precision
    return {"precision": precision} if own or precision not in HALF else {"plugins": [HalfNetwork(half)]}


def set_threads(threads: Any, *, weights: int, batch_size: int) -> int:
    """Let torch compute with so many threads, for `auto` with as many as pay; return how many."""
    if threads == "auto":
        threads = 1 if weights * batch_size < SMALL else cores()
    torch.set_num_threads(threads)
    return threads


CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # Lightning sets it with trainer.deterministic


def as_they_are() -> Callable[[], None]:
    """Return what gives torch its threads and switches, and Lightning's loggers the settings, that they have now."""
    threads, environment = torch.get_num_threads(), os.environ.get(CUBLAS)
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only, benchmark = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
    loggers = [logging.getLogger(name) for name in LOGGERS]
    settings = [(logger, logger.level, logger.propagate, [*logger.handlers]) for logger in loggers]

    def put_back() -> None:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if environment is None:
            os.environ.pop(CUBLAS, None)
        else:
            os.environ[CUBLAS] = environment
        for logger, level, propagate, handlers in settings:
            logger.setLevel(level)
            logger.propagate, logger.handlers = propagate, handlers

    return put_back


as_imported = as_they_are()  # nothing of gradloop's has changed them yet


def quiet_libraries() -> None:
    """Send what Lightning has to say to the log file instead of the terminal; let it not slow every step."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
        logger.propagate = True
        logger.setLevel(logging.INFO)
    if not torch.cuda.is_available():
        # every optimizer step asks whether there is a GPU; where none is, Lightning's way to ask takes 0.25 ms
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*is already saved during checkpointing.*")  # what is kept is plain
    warnings.filterwarnings(
        "ignore", message=".*was called before the ``update``.*"
    )  # a resumed metric has its state
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")


def keep_freed_pages() -> bool:
    """Let freed memory wait for the next step instead of going back to the system; return whether that is done.

    glibc asks the system for every large tensor anew (`mmap`) and gives it back when it is freed, so each step of a
    convolutional net touches, and has zeroed, hundreds of megabytes of new pages. With no `mmap` and no trimming the
    same pages serve all steps, as on a GPU, where torch does so itself. The process then stays as large as it once
    was. What it is worth: tests/benchmarks/allocator.py. Source: mallopt(3); elsewhere than on glibc nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))


def check_devices(settings: dict[str, Any]) -> None:
    """Refuse a device that this machine lacks, and what Lightning would compute otherwise on the one that it has."""
    accelerator, devices = settings.get("accelerator"), settings.get("devices")
    on_cpu = accelerator == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if on_cpu and str(settings.get("precision")) in ("16-mixed", "16"):
        raise ConfigError(
            f"trainer.precision={settings['precision']}: is for GPUs; on a processor use bf16-mixed, or auto"
        )
    if accelerator == "gpu" and not torch.cuda.is_available():
        given, others = ("ddp", "ddp_cpu") if settings.get("strategy") == "ddp" else ("gpu", "cpu")
        raise ConfigError(
            f"accelerator={given}: torch sees no GPU here; use accelerator={others} or accelerator=auto"
        )
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("accelerator=mps: this machine has none; use accelerator=cpu, or accelerator=auto")
    most = max(2, os.cpu_count() or 1)
    if isinstance(devices, int) and devices > most and not torch.cuda.is_available():
        raise ConfigError(f"trainer.devices={devices}: more processes than this machine has cores ({most})")
    several = devices > 1 if isinstance(devices, int) else isinstance(devices, list) and len(devices) > 1
    by_file = sys.modules["__main__"].__spec__ is None and "LOCAL_RANK" not in os.environ
    if several and by_file and not Path(sys.argv[0]).is_file():
        raise ConfigError(
            f"trainer.devices={devices}: each further process is started as this one was, and {sys.argv[0]!r} "
            "is no file; put the lines into a script, or use gradloop train"
        )
