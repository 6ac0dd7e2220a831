"""The files of a cache of images that outlasts a process."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sys
import weakref
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pochi_cli.config.steps.nested import AnyStep
from pochi_cli.data.folder import FolderIndex
from pochi_cli.errors import StorageError

if sys.platform != "win32":
    import fcntl

_FORMAT = 1
_MAY_NOT = (errno.EACCES, errno.EPERM, errno.EROFS)
_LONGEST_EDGE = 1 << 20
"""In pixels; a longer one is damage, and the product of two could be any number."""


class CacheFiles:
    """The directory of a cache: the pixels, and a table of which image lies where.

    One owner at a time adds to it, with the processes that load for it; others read what is there.

    Args:
        directory: It is made where it is missing.
        fills: Whether this owner adds to it, if no other one does.

    Attributes:
        pixels: The file of the pixels.
        is_ours: Whether this owner may add to it.
        is_read_only: Whether this user may not: the disk, or the directory, is read-only.

    Raises:
        StorageError: It is not there, and cannot be made.
    """

    def __init__(self, directory: Path, *, fills: bool = True) -> None:
        self.directory = directory
        self.pixels = directory / "pixels.bin"
        self._table = directory / "table.npy"
        self.is_ours = self.is_read_only = False
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(directory / "lock", os.O_WRONLY | os.O_CREAT)
            weakref.finalize(self, os.close, lock)
            self.pixels.touch()
        except OSError as error:
            if error.errno not in _MAY_NOT or not self._table.is_file() or not self.pixels.is_file():
                raise _unwritable(directory, error) from error
            self.is_read_only = True
            return
        self.is_ours = fills and _try_to_lock(lock)

    def read_table(self, images: int) -> NDArray[np.int64]:
        """Read offset, height and width of each image, int64 (images, 3); all 0 where nothing can be used."""
        nothing = np.zeros((images, 3), dtype=np.int64)
        try:
            table = np.load(self._table, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return nothing  # there is none yet, or it is damaged: the images are decoded again
        if table.shape != nothing.shape or table.dtype != nothing.dtype:
            return nothing
        if table.min() < 0 or table[:, 1:].max() > _LONGEST_EDGE:
            return nothing
        return table if end_of(table) <= self.pixels.stat().st_size else nothing

    def write_table(self, table: NDArray[np.int64]) -> None:
        """Replace the table, once the pixels that it names are on the disk.

        Raises:
            StorageError: Writing failed.
        """
        content = io.BytesIO()
        np.save(content, table)
        temporary = self._table.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(content.getvalue())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._table)
        except OSError as error:
            raise _unwritable(self._table, error) from error

    def bytes_of_others(self) -> int:
        """Add up the files of the caches beside this one."""
        others = (file for file in self.directory.parent.glob(f"*/{self.pixels.name}") if file != self.pixels)
        return sum(max(0, _size_and_time(file)[0]) for file in others)

    def __getstate__(self) -> dict[str, object]:
        """Leave the lock to this process."""
        return {**self.__dict__, "is_ours": False}


def end_of(table: NDArray[np.int64]) -> int:
    """Find where the last of the pixels that a table names end."""
    offset, height, width = table.T
    return int((offset + height * width * 3).max(initial=0))


def cache_key(index: FolderIndex, steps: Sequence[AnyStep]) -> str:
    """Name a cache after all that its contents depend on: the files, the steps, and who decodes and resizes.

    Args:
        index: The images; that a file was changed its size and time tell.
        steps: What is applied before they are kept.
    """
    digest = hashlib.sha256()
    made_by = [_FORMAT, *(version(package) for package in ("pillow", "torch", "torchvision"))]
    digest.update(json.dumps([made_by, [step.model_dump(mode="json") for step in steps]]).encode())
    digest.update(os.fsencode(index.root.resolve()))
    if index.pixels is not None:
        digest.update(index.fingerprint.encode())
        return digest.hexdigest()[:32]
    for at, path in enumerate(index.paths):
        digest.update(path.encode("utf-8", "surrogateescape") + b"\0%d %d\n" % _size_and_time(index.file(at)))
    return digest.hexdigest()[:32]


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _try_to_lock(file: int) -> bool:
    """Lock a file for as long as it is open; where there are no locks, go without.

    The lock belongs to this opening of the file: neither another one by this process has it, nor does the
    end of that give it up. Processes that were forked keep it until they have ended, too.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write the cache of images {path}: {error.strerror or error}",
        hint='use cache = "ram" or "none", or set POCHI_CACHE_DIR to a directory on a disk with room',
    )
