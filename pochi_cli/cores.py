"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from pochi_cli.control_groups import CGROUPS, PROC, groups, read


def usable_cores() -> int:
    """Count the cores that this process may use, at least 1.

    It may be bound to some of the machine's, and a control group may have the time of fewer (in a container
    of docker's `--cpus 2` all cores are seen). Of a core that it has in part the whole is counted.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min((cores, *map(math.ceil, granted_cores(PROC, CGROUPS)))))


def granted_cores(proc: Path, cgroups: Path) -> Iterator[float]:
    """List how many cores' time each control group grants that limits it.

    Args:
        proc: Where the kernel tells of processes.
        cgroups: Where it tells of control groups.
    """
    for group, version in groups(proc, cgroups, "cpu"):
        if version == 2:
            told = read(group / "cpu.max").split()
        else:
            told = [read(group / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period")]
        # No limit reads "max" in version 2, and -1 in version 1.
        if len(told) == 2 and all(number.isdigit() for number in told) and int(told[1]):
            yield int(told[0]) / int(told[1])
