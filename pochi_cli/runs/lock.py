"""One process at a time works on a run."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pochi_cli.errors import RunError, StorageError

if sys.platform != "win32":
    import fcntl


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run's lock file; the system lets go of it when the process ends, however it ends.

    POSIX record locks belong to the process alone: those that load images don't inherit them. On
    Windows, and on file systems without locks, nothing is locked.

    Raises:
        RunError: Another process holds it.
        StorageError: The file cannot be opened.
    """
    try:
        file = path.open("a")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    with file:
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
        yield
