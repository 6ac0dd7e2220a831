"""A disk that fails: at the n-th thing that is written below a directory, the system's call raises."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# Where each of these functions of `os` has the path that it makes, changes or removes.
_MAKES = {"mkdir": 0, "replace": 1, "rename": 1, "link": 1, "symlink": 1}
_REMOVES = {"unlink": 0, "remove": 0, "rmdir": 0}


@dataclass(frozen=True)
class Kind:
    """How a disk fails.

    Attributes:
        name: For people.
        number: The system's error number.
        lasts: Whether everything after the first failure fails as well.
        keeps: Whether nothing can be removed any more either.
    """

    name: str
    number: int
    lasts: bool = False
    keeps: bool = False

    @property
    def reason(self) -> str:
        """What the system calls it."""
        return os.strerror(self.number)


KINDS = (
    Kind("disk full from then on", errno.ENOSPC, lasts=True),
    Kind("permission denied once", errno.EACCES),
    Kind("I/O error once", errno.EIO),
    Kind("read-only from then on", errno.EROFS, lasts=True, keeps=True),
)


class FaultyDisk:
    """Counts what is done below a directory, and fails from or at a number.

    Of the many pieces in which a file is written, the 1st, 2nd, 4th, 8th ... count. A piece that fails is
    written by half, as on a disk that is full.

    Args:
        directory: Below it everything counts.
        kind: How it fails.
        at: When, from 1; 0 for never.

    Attributes:
        operations: What was done so far.
        failed: The operation that failed first.
    """

    def __init__(self, directory: Path, kind: Kind, at: int) -> None:
        self._root, self._kind, self._at = os.path.realpath(directory), kind, at
        self.operations = 0
        self.failed: str | None = None

    def install(self) -> None:
        """Put the disk in the place of this process's calls of the system; there is no way back."""
        os_open, io_open, fsync = os.open, io.open, os.fsync

        def open_descriptor(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if flags & _WRITES:
                self._do("open", path)
            return os_open(path, flags, *arguments, **named)

        def open_file(
            file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **named: Any
        ) -> IO[Any]:
            if isinstance(file, int) or not set(mode) & set("wxa+") or not self._holds(file):
                return io_open(file, mode, buffering, *arguments, **named)
            opener = named.get("opener")
            if opener is None:
                self._do("open", file)  # else the opener does it
            raw = _FaultyFile(self, file, mode.replace("b", "").replace("t", ""), opener)
            whole = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return whole if "b" in mode else io.TextIOWrapper(whole, *arguments, **_text_options(named))

        def sync(descriptor: int) -> None:
            self._do("fsync", Path(f"/proc/self/fd/{descriptor}").resolve())
            fsync(descriptor)

        for module, name, replacement in (
            (os, "open", open_descriptor),
            (os, "fsync", sync),
            (io, "open", open_file),
            (builtins, "open", open_file),
        ):
            setattr(module, name, replacement)
        for name, place in (_MAKES | (_REMOVES if self._kind.keeps else {})).items():
            setattr(os, name, self._guarded(getattr(os, name), name, place))

    def wrote(self, path: str, pieces: int) -> bool:
        """Tell whether the next piece of a file can be written whole."""
        if pieces & (pieces - 1) and not self._is_failing:
            return True
        return not self._fails(f"write {pieces}", path)

    def error(self, path: Any) -> OSError:
        """What the system raises."""
        return OSError(self._kind.number, self._kind.reason, os.fspath(path))

    @property
    def _is_failing(self) -> bool:
        return self._kind.lasts and self.failed is not None

    def _guarded(self, function: Callable[..., Any], name: str, place: int) -> Callable[..., Any]:
        def guarded(*arguments: Any, **named: Any) -> Any:
            self._do(name, arguments[place], anywhere=named.get("dir_fd") is not None)
            return function(*arguments, **named)

        return guarded

    def _do(self, what: str, path: Any, *, anywhere: bool = False) -> None:
        if (anywhere or self._holds(path)) and self._fails(what, path):
            raise self.error(path)

    def _fails(self, what: str, path: Any) -> bool:
        self.operations += 1
        if self.operations != self._at and not self._is_failing:
            return False
        self.failed = self.failed or f"{what} {os.path.relpath(path, self._root)}"
        return True

    def _holds(self, path: Any) -> bool:
        # Path.resolve would follow the file's own link.
        absolute: str = os.path.abspath(os.fspath(path))  # noqa: PTH100
        return absolute == self._root or absolute.startswith(self._root + os.sep)


class _FaultyFile(io.FileIO):
    def __init__(self, disk: FaultyDisk, path: Any, mode: str, opener: Any) -> None:
        super().__init__(path, mode, opener=opener)
        self._disk, self._path, self._pieces = disk, path, 0

    def write(self, data: Any) -> int:
        self._pieces += 1
        if not self._disk.wrote(self._path, self._pieces):
            view = memoryview(data).cast("B")
            super().write(view[: len(view) // 2])
            raise self._disk.error(self._path)
        return super().write(data)


def _text_options(named: dict[str, Any]) -> dict[str, Any]:
    return {name: named[name] for name in ("encoding", "errors", "newline") if name in named}


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: Its exit code.
        told: What it printed, to stdout and stderr.
        operations: How many writing operations it did.
        failed: Which of them failed first.
    """

    code: int
    told: str
    operations: int = 0
    failed: str | None = None


def run_forked(arguments: list[str], disk: FaultyDisk | None = None) -> Outcome:
    """Run `pochi` in a fork of this process, which should have imported what it needs.

    Args:
        arguments: Of the command line.
        disk: The disk that it meets.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _be_pochi(arguments, disk, writing)
    os.close(writing)
    with os.fdopen(reading, "r", encoding="utf-8", errors="replace") as file:
        told = file.read()
    _, status = os.waitpid(child, 0)
    told, _, report = told.partition("\0")
    return Outcome(os.waitstatus_to_exitcode(status), told, **json.loads(report or "{}"))


def _be_pochi(arguments: list[str], disk: FaultyDisk | None, writing: int) -> None:
    from pochi_cli.app import main

    code: object = 1
    try:
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            os.dup2(writing, descriptor)
            # What it was before may have been able to seek.
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        sys.argv = ["pochi", *arguments]
        if disk is not None:
            disk.install()
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # noqa: BLE001 - what Python does at the end of a program
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if disk is not None:
            report = {"operations": disk.operations, "failed": disk.failed}
            os.write(writing, b"\0" + json.dumps(report).encode())
        os._exit(code if isinstance(code, int) else int(code is not None))
