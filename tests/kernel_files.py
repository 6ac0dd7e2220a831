"""Files as the kernel of Linux has them below /proc and /sys/fs/cgroup."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def kernel_files(root: Path, files: Mapping[str, str]) -> tuple[Path, Path]:
    """Write files by their paths below a directory; returns its `proc` and `cgroup`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root / "proc", root / "cgroup"
