"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pochi_cli.errors import StorageError

TEMPORARY_PREFIX = ".tmp-"


def temporary_beside(path: Path) -> Path:
    """Name a file in the same directory that nobody else uses."""
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{secrets.token_hex(4)}")


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file in the same directory that replaces `path` when the block ends well.

    The contents are flushed to the disk before the renaming. When anything fails the old file stays
    and the temporary one is removed.

    Raises:
        StorageError: Writing failed: no space, no permission.
    """
    temporary = temporary_beside(path)
    is_ours = False
    try:
        # Opened for exclusive creation, so that the umask and the directory decide who may read the file.
        with temporary.open("xb") as file:
            is_ours = True
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        is_ours = False
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            hint=_remedy(error),
        ) from error
    finally:
        if is_ours:
            # Where nothing can be removed either, what led here is the error to tell.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files that a killed process left in a directory and those below it.

    Only for a directory in which no other process is writing.

    Raises:
        StorageError: One cannot be removed.
    """
    for path in directory.rglob(f"{TEMPORARY_PREFIX}*"):
        if path.is_dir() and not path.is_symlink():
            continue  # none of ours
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {path}: {error.strerror or error}") from error


def open_appending(path: Path) -> IO[bytes]:
    """Open a file to write at its end, which can be read as well; one that is missing is made.

    A file that has other names becomes one of its own first: those keep what they have.

    Raises:
        StorageError: That failed, or it is a symbolic link, which could lead anywhere.
    """

    def without_links(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)  # Windows has no such flag

    try:
        file = open(path, "a+b", opener=without_links)  # noqa: SIM115 - Path.open takes no opener
        if os.fstat(file.fileno()).st_nlink > 1:  # such as a backup's, or one outside of the run
            with file:
                file.seek(0)
                content = file.read()
            with atomic_writer(path) as own:
                own.write(content)
            file = open(path, "a+b", opener=without_links)  # noqa: SIM115
    except OSError as error:
        raise _cannot_append(path, error) from error
    return file


@contextmanager
def appending(path: Path) -> Iterator[IO[bytes]]:
    """Open a file as `open_appending` does, to write to it inside the block.

    Raises:
        StorageError: That, or something inside the block, failed.
    """
    try:
        with open_appending(path) as file:
            yield file
    except OSError as error:
        raise _cannot_append(path, error) from error


def _cannot_append(path: Path, error: OSError) -> StorageError:
    reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror or error
    return StorageError(f"cannot write {path}: {reason}", hint=_remedy(error))


def _remedy(error: OSError) -> str | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space; what was there before is unchanged"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "mend the permissions; what was there before is unchanged"
    return None


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Raises:
        StorageError: Writing failed.
    """
    with atomic_writer(path) as file:
        file.write(text.encode("utf-8"))


def write_output(path: Path, text: str) -> None:
    """Write a text to where a user said: a file is replaced atomically, a link leads to one.

    Pipes and devices, such as `/dev/stdout`, are written to.

    Raises:
        StorageError: Writing failed.
    """
    target = followed(path)
    try:
        if not target.is_file() and target.exists():
            with path.open("wb") as file:
                file.write(text.encode("utf-8"))
            return
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}", _remedy(error)) from error
    write_text(target, text)


def followed(path: Path) -> Path:
    """Find what a path that a user named leads to, through links.

    Raises:
        StorageError: They lead in a circle, or may not be followed.
    """
    try:
        target = path.resolve() if path.is_symlink() else path
        if not target.is_symlink():
            return target
        reason: object = "its links lead in a circle"
    except OSError as error:
        reason = error.strerror or error
    except RuntimeError as error:  # Python before 3.13 says so of a circle
        reason = error
    raise StorageError(f"cannot write {path}: {reason}")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically.

    JSON has no NaN and no infinity: they are written as the strings "NaN", "Infinity" and "-Infinity",
    which `float` reads.

    Raises:
        StorageError: Writing failed.
    """
    text = json.dumps(without_non_finite(content), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    with atomic_writer(path) as file:
        # A file name that is not UTF-8 holds lone surrogates; their backslash form is JSON's own escape.
        file.write(text.encode("utf-8", "backslashreplace"))


def without_non_finite(content: Any) -> Any:
    """Copy a content with strings for the numbers that JSON has no notation for."""
    if isinstance(content, float) and not math.isfinite(content):
        return "NaN" if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    if isinstance(content, Mapping):
        return {key: without_non_finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_non_finite(value) for value in content]
    return content
