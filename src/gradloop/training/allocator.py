"""Memory that the steps of a run hand on to each other."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


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
