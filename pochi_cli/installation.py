"""Whether the packages that do the work are there and fit each other."""

from __future__ import annotations

import atexit
import gc
import sys

from pochi_cli.allocator import keep_freed_memory
from pochi_cli.errors import InstallationError, first_line


def require_torch() -> None:
    """Import torch and torchvision.

    Raises:
        InstallationError: They are not there, are of builds that do not fit each other, or find no room.
    """
    try:
        import torchvision  # noqa: F401 - it imports torch, and registers its operators with it
    except (ImportError, OSError, RuntimeError) as error:
        if "failed to map segment" in str(error):
            raise InstallationError(
                f"torch and torchvision find no room in memory: {first_line(error)}",
                hint="this process may take less than they need: see its limits with ulimit -v and ulimit -d",
            ) from error
        raise InstallationError(
            f"torch and torchvision do not work together: {first_line(error)}",
            hint="install matching builds of both from one source: "
            "pip install --upgrade --force-reinstall torch torchvision",
        ) from error


def load_torch() -> None:
    """Import torch and torchvision into a process of our own, where they stay to its end.

    Python's collector of garbage is told so. It would look through their third of a million objects several
    times, while they are imported, in the middle of the work and at the end, more than a second in all. And
    glibc keeps the memory of freed tensors for the next ones. In a process that is not ours, where all this
    would stay as well, `require_torch` is the one to call.

    Raises:
        InstallationError: As for `require_torch`.
    """
    if "torchvision" in sys.modules:
        return
    keep_freed_memory()
    gc.disable()
    try:
        require_torch()
    finally:
        gc.enable()
    gc.freeze()
    atexit.register(gc.freeze)
