"""The control groups of Linux, by which containers, batch systems and systemd limit what processes take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
"""Where the kernel tells of processes."""
CGROUPS = Path("/sys/fs/cgroup")
"""Where it tells of control groups."""


def groups(proc: Path, cgroups: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """List the group that this process is in, and those around it: what limits one of them limits it.

    Args:
        proc: Where the kernel tells of processes.
        cgroups: Where it tells of control groups.
        controller: What is limited, such as `memory`.

    Yields:
        The directory of each group, and whether it is of version 1 or 2, which have files of other names.
    """
    unified = cgroups / "unified"  # where systemd has version 2 beside version 1
    for line in read(proc / "self" / "cgroup").split("\n"):
        _, _, named = line.partition(":")
        controllers, colon, name = named.partition(":")
        if not colon:
            continue
        if controllers == "":  # version 2 has no list of controllers
            root, version = unified if unified.is_dir() else cgroups, 2
        elif controller in controllers.split(","):
            root, version = cgroups / controller, 1
        else:
            continue
        # Inside a container the name may be that of the host, and what is mounted the own group.
        inside = root / name.lstrip("/")
        for group in (inside, *inside.parents):
            yield group, version
            if group == root:
                break


def read(path: Path) -> str:
    """Read a file of the kernel; nothing where there is none."""
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
