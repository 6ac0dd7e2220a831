"""How much memory this process may still take, as far as the system tells."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from pochi_cli.allocator import return_freed_memory
from pochi_cli.control_groups import CGROUPS, PROC, groups, read
from pochi_cli.errors import MemoryExhaustedError, first_line

_FILES = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
"""Of a control group of version 1 or 2: its limit, and what it uses."""

# What torch and the libraries below it say on the CPU, CUDA and mps where they raise no class of their own.
_WORDS = re.compile(
    r"(can't|cannot|could not|not enough|unable to|failed to) (allocate )?memory"
    r"|out of memory|std::bad_alloc|ALLOC_FAILED|could not create a (primitive|memory object)$",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell a lack of memory from other errors."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None


@contextmanager
def explaining_batches(device: torch.device, images: int) -> Iterator[None]:
    """Make an error of a lack of memory that says what may help, for work on a model that is trained.

    Args:
        device: What it runs on.
        images: Images in a batch.

    Raises:
        MemoryExhaustedError: Memory ran out inside.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryExhaustedError(
            f"out of memory on {device}, with batches of {images} images: {first_line(error)}",
            hint="free memory, or use --device cpu or a smaller batch (--set batch_size=8)",
        ) from error


def available_memory(device: torch.device) -> int | None:
    """Find how many bytes can still be allocated on a device; `None` where the system does not tell.

    On the CPU what is freed goes back to the system first, which else counts it as taken.
    """
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return_freed_memory()
    return available_main_memory(PROC, CGROUPS)


def share_of_memory(device: torch.device, processes: int) -> int | None:
    """Find how many bytes one of several processes of a machine may take; a GPU is its own."""
    available = available_memory(device)
    return available if available is None or device.type != "cpu" else available // processes


def held_memory(device: torch.device) -> int:
    """Find how many bytes this process holds on a device; 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    sizes = read(PROC / "self" / "statm").split()
    return int(sizes[1]) * os.sysconf("SC_PAGE_SIZE") if sizes else 0


def available_main_memory(proc: Path, cgroups: Path) -> int | None:
    """Find how many bytes of main memory this process may still take.

    The least counts of what the machine has, what the control groups that the process is in leave (in a
    container they are less than the machine has), and what the limits of the process itself leave.

    Args:
        proc: Where the kernel tells of processes.
        cgroups: Where it tells of control groups.
    """
    known = [*_machine(proc), *_control_groups(proc, cgroups), *_own_limits(proc)]
    return max(0, min(known)) if known else None


def _machine(proc: Path) -> Iterator[int]:
    told = re.search(r"^MemAvailable:\s*(\d+) kB", read(proc / "meminfo"), re.MULTILINE)
    if told:
        yield int(told[1]) * 1024
    elif sys.platform == "darwin":
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _control_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    for group, version in groups(proc, cgroups, "memory"):
        limit, used = _FILES[version]
        most, taken = _number(group / limit), _number(group / used)
        if most is not None and taken is not None:
            yield most - taken + _reclaimable(group)


def _reclaimable(group: Path) -> int:
    """Find how much of what a group uses is cached files that the kernel drops when memory is short."""
    told = re.search(r"^(?:total_)?inactive_file (\d+)", read(group / "memory.stat"), re.MULTILINE)
    return int(told[1]) if told else 0


def _own_limits(proc: Path) -> Iterator[int]:
    sizes = read(proc / "self" / "statm").split()
    if not sizes:
        return
    import resource  # not on Windows

    pages = {resource.RLIMIT_AS: int(sizes[0]), resource.RLIMIT_DATA: int(sizes[5])}
    for kind, used in pages.items():
        most, _ = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY:
            yield most - used * os.sysconf("SC_PAGE_SIZE")


def _number(path: Path) -> int | None:
    """Read a file that holds a number; `None` where there is none, or the word `max`."""
    text = read(path).strip()
    return int(text) if text.isdigit() else None
