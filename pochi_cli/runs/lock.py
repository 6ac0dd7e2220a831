"""One process at a time works on a run."""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pochi_cli.errors import RunError
from pochi_cli.runs.atomic import open_appending

if sys.platform != "win32":
    import fcntl

_held: set[tuple[int, int]] = set()
"""Device and inode of the lock files that this process holds. To close any of them, however it was opened,
would give up the lock: those are never opened a second time."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run's lock file; the system lets go of it when the process ends, however it ends.

    POSIX record locks belong to the process alone: those that load images don't inherit them. On
    Windows, and on file systems without locks, nothing is locked.

    Raises:
        RunError: Another process holds it.
        StorageError: The file cannot be opened, or is a symbolic link.
    """
    with open_appending(path) as file:
        if sys.platform != "win32":
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                # POSIX allows either for a lock that is held; others say that the file system has no locks.
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise RunError(
                        f"another process is training {path.parent}",
                        hint="wait until it ends, or stop it; its number is process_id in run.json",
                    ) from None
        key = _identity(os.fstat(file.fileno()))
        _held.add(key)
        try:
            yield
        finally:
            _held.discard(key)


def is_held(path: Path) -> bool | None:
    """Tell whether a process holds a run's lock file, without taking or changing it.

    Returns:
        `None` where that cannot be told: the file cannot be read, or there are no locks.
    """
    if sys.platform == "win32":
        return None
    try:
        if _identity(path.stat()) in _held:
            return True
        with path.open("rb") as file:
            return _is_locked(file.fileno())
    except FileNotFoundError:
        return False
    except OSError:
        return None


def process_exists(process_id: int) -> bool:
    """Tell whether a process of this machine exists; on Windows, where asking might end it, assume so."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is another user's
    return process_id > 0  # 0 would mean this process and its relatives


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


if sys.platform != "win32":

    def _is_locked(descriptor: int) -> bool | None:
        """Ask the system who would stand in the way of a lock; a descriptor for reading is enough."""
        # C's struct flock, which Python leaves to its callers: type, whence, start, length, process.
        if sys.platform == "linux":
            question = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, question)
            return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)
        if sys.platform == "darwin":
            question = struct.pack("qqihh", 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, question)
            return bool(struct.unpack("qqihh", answer)[3] != fcntl.F_UNLCK)
        return None
