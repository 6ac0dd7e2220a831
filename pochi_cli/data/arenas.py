"""Memory for decoded images that this process shares with those that load."""

from __future__ import annotations

import errno
import mmap
import multiprocessing
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_HEADER = 8
FREE_ON_DISK = 1 << 30
"""Bytes of a disk that are left to others."""


class Arena(Protocol):
    """Bytes that are taken from the front to the end, and never given back."""

    def take(self, size: int) -> int | None:
        """Take so many bytes; one process at a time may.

        Returns:
            Where they begin; `None` where there are too few.
        """

    def view(self, offset: int, size: int) -> NDArray[np.uint8]:
        """Look at bytes that were taken, uint8 (size,); what is written there all processes see."""

    def flush(self) -> bool:
        """Wait until all that was written is where it outlasts this process; tell whether it will."""


class SharedBytes:
    """Bytes, all zero at first, that the processes share to which this object is given.

    Where those are forked they inherit the memory, which no limit on /dev/shm concerns. Else they open the
    file that holds it, which vanishes with the object that made it.

    Args:
        size: How many.
        file: A file of that size that holds them; by default a temporary one where one is needed.
        is_read_only: Of the file; what is written to the bytes stays in this process then.

    Raises:
        OSError: There is no room for them.
    """

    def __init__(self, size: int, file: Path | None = None, *, is_read_only: bool = False) -> None:
        self._size = size
        self._is_read_only = is_read_only
        if file is None and multiprocessing.get_start_method() != "fork":
            file = _temporary_file(size)
            weakref.finalize(self, file.unlink, missing_ok=True)
        self._file = file
        self._open()

    def _open(self) -> None:
        if self._file is None:
            self._map = mmap.mmap(-1, self._size)
        else:
            access = mmap.ACCESS_COPY if self._is_read_only else mmap.ACCESS_WRITE
            with self._file.open("rb" if self._is_read_only else "r+b") as file:
                self._map = mmap.mmap(file.fileno(), self._size, access=access)
        self.values: NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)

    def __getstate__(self) -> tuple[int, Path, bool]:
        """Name the file for another process."""
        assert self._file is not None, "forked processes inherit the memory"
        return self._size, self._file, self._is_read_only

    def __setstate__(self, state: tuple[int, Path, bool]) -> None:
        """Open the file."""
        self._size, self._file, self._is_read_only = state
        self._open()

    @property
    def is_whole(self) -> bool:
        """Whether the file has not been cut off: to look at what it has not ends the process."""
        return self._map.size() >= self._size

    def flush(self) -> None:
        """Wait until a file that holds the bytes is on the disk."""
        self._map.flush()


def _temporary_file(size: int) -> Path:
    """Make a file of so many zeros in memory if there is room, else in the directory for temporary files."""
    in_memory = Path("/dev/shm")  # noqa: S108 - of a name of its own, and readable by its owner alone
    has_room = in_memory.is_dir() and shutil.disk_usage(in_memory).free > 2 * size
    descriptor, name = tempfile.mkstemp(prefix="pochi-", dir=in_memory if has_room else None)
    with os.fdopen(descriptor, "wb") as file:
        file.truncate(size)
    return Path(name)


class MemoryArena:
    """An arena in main memory; a page of it is taken from the system when it is first written.

    Args:
        capacity: Its size in bytes.

    Raises:
        OSError: There is no room for it.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bytes = SharedBytes(_HEADER + capacity)

    @property
    def _taken(self) -> NDArray[np.int64]:
        return self._bytes.values[:_HEADER].view(np.int64)

    def take(self, size: int) -> int | None:
        """Take bytes."""
        offset = int(self._taken[0])
        if offset + size > self._capacity:
            return None
        self._taken[0] = offset + size
        return offset

    def view(self, offset: int, size: int) -> NDArray[np.uint8]:
        """Look at bytes."""
        return self._bytes.values[_HEADER + offset : _HEADER + offset + size]

    def flush(self) -> bool:
        """Tell that nothing outlasts the process."""
        return False


class DiskArena:
    """An arena in a file that grows, of which the system keeps in memory what fits.

    Where the file is deleted, or another put in its place, nothing more is taken, and what was taken is lost.

    Args:
        file: It is there.
        taken: How much of it holds something already, in bytes.
        growth: By how many bytes it grows at a time, where the disk has room for them.
        is_read_only: Nothing is taken, as others may do so, or nobody may.

    Raises:
        OSError: The file cannot be opened.
    """

    def __init__(self, file: Path, taken: int, growth: int, *, is_read_only: bool = False) -> None:
        self._file = file
        self._growth = growth
        self._is_read_only = is_read_only
        status = file.stat()
        self._identity = _identity(status)
        self._shared = SharedBytes(_HEADER)
        self._taken[0] = taken
        self._mapped = self._map() if status.st_size else None

    def _map(self) -> SharedBytes:
        return SharedBytes(self._file.stat().st_size, self._file, is_read_only=self._is_read_only)

    @property
    def _taken(self) -> NDArray[np.int64]:
        return self._shared.values.view(np.int64)

    def take(self, size: int) -> int | None:
        """Take bytes; the file grows where it must, and not where the disk has little room left."""
        if self._is_read_only:
            return None
        offset = int(self._taken[0])
        try:
            has_room = self._has_room(offset + size)
        except OSError:
            has_room = False  # deleted in the meantime, or a quota is used up: training goes on without
        if not has_room:
            return None
        self._taken[0] = offset + size
        return offset

    def _has_room(self, end: int) -> bool:
        """Tell whether the file reaches up to a byte, once it has been made to if it can."""
        status = self._file.stat()
        if _identity(status) != self._identity:
            return False
        return status.st_size >= end or self._grow(end - status.st_size)

    def _grow(self, least: int) -> bool:
        room = shutil.disk_usage(self._file.parent).free - FREE_ON_DISK
        if room < least:
            return False
        size = max(least, min(self._growth, room))
        with self._file.open("r+b") as file:
            if _identity(os.fstat(file.fileno())) != self._identity:
                return False
            end = file.seek(0, os.SEEK_END)
            # Blocks that only seem to be there would end a process that writes to them when the disk is full.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), end, size)
            else:
                file.write(bytes(size))
        return True

    def _is_there(self) -> bool:
        try:
            return _identity(self._file.stat()) == self._identity
        except OSError:
            return False

    def view(self, offset: int, size: int) -> NDArray[np.uint8]:
        """Look at bytes.

        Raises:
            OSError: They are lost.
        """
        if self._mapped is None or len(self._mapped.values) < offset + size:
            self._mapped = self._map_grown()
        if not self._mapped.is_whole:
            raise _lost(self._file)
        return self._mapped.values[offset : offset + size]

    def _map_grown(self) -> SharedBytes:
        """Map the file again, which another process made grow."""
        try:
            mapped = self._map()
        except ValueError as error:  # shorter than a moment ago
            raise _lost(self._file) from error
        if not self._is_there():  # asked last: what was mapped is ours then
            raise _lost(self._file)
        return mapped

    def flush(self) -> bool:
        """Wait until the file is on the disk; tell whether it is there at all."""
        try:
            if not self._is_there():
                return False
            if size := self._file.stat().st_size:
                self.view(0, size)
                assert self._mapped is not None
                self._mapped.flush()
        except OSError:
            return False
        return True


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _lost(file: Path) -> OSError:
    return OSError(errno.ESTALE, os.strerror(errno.ESTALE), file)
