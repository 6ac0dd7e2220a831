"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version

from pochi_cli.version import __version__

_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "pydantic")


def describe_environment() -> dict[str, object]:
    """Collect versions, platform and git commit; nothing here changes between epochs."""
    return {
        "pochi": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": None if (status := _git("status", "--porcelain")) is None else bool(status),
    }


def _git(*arguments: str) -> str | None:
    """Ask git about the working directory; `None` outside a repository or without git."""
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
