"""What happens to memory that is freed: the process keeps it for its next tensors, or the system has it back.

Of itself glibc asks the system for each block of more than 32 MiB and returns it as soon as it is freed, and
much of what is smaller as well. A training step on the CPU makes and frees hundreds of such blocks, and each
time the system clears all their pages. Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

# malloc.h of glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_NEVER = -1

_LARGEST_KEPT = (128 * 2**20, 32 * 2**20)
"""Bytes. Larger blocks still come from the system: kept, they leave gaps that nothing fits into, and the
process grows by a third. Before 2.35 glibc takes no more than the second."""

_LARGEST_KEPT_BY_LOADERS = 16 * 2**20
"""Bytes. Pillow holds large images in blocks of this size: where they are freed, glibc's own rule settles on
this threshold, and on twice as much for what may lie idle at the end of the heap."""

_VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
_TUNABLES = ("glibc.malloc.mmap_threshold", "glibc.malloc.mmap_max", "glibc.malloc.trim_threshold")
"""Where a user sets the same."""

_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_STRICT = "2"
"""What Linux has there where it counts all that processes have asked for, used or not."""

_keeps = False


def keep_freed_memory() -> None:
    """Make glibc keep what is freed, from now to the end of the process, unless its environment decides.

    Where the address space is limited (`ulimit -v`, `-d`, strict overcommitment) all stays as it is: what is
    kept counts there, even when its pages were given back.
    """
    global _keeps
    if (libc := _glibc()) and not _is_chosen() and not _is_limited():
        any(libc.mallopt(_M_MMAP_THRESHOLD, size) for size in _LARGEST_KEPT)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
        _keeps = True


def keeps_freed_memory() -> bool:
    """Tell whether this process, or the one that it was forked from, was made to keep what is freed."""
    return _keeps


def keep_little() -> None:
    """End what `keep_freed_memory` did, in a process that was forked from one that keeps all.

    One that loads makes a block for each image, and of many sizes: each such process would stay as large as
    its largest images made it.
    """
    if _keeps and (libc := _glibc()):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BY_LOADERS)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_KEPT_BY_LOADERS)


def return_freed_memory() -> None:
    """Give what is freed and kept back to the system, which else counts it as taken."""
    if libc := _glibc():
        libc.malloc_trim(0)


def _is_chosen() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return any(name in os.environ for name in _VARIABLES) or any(name in tunables for name in _TUNABLES)


def _is_limited() -> bool:
    import resource  # not on Windows

    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits):
        return True
    try:
        return _OVERCOMMIT.read_text().strip() == _STRICT
    except OSError:
        return False  # it is not told here


def _glibc() -> Any:
    """Find the functions of glibc; `None` with another C library."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
