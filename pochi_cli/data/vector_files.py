"""Files of stored vectors, N rows of D numbers: .npy read in place, others into memory. Free of torch."""

from __future__ import annotations

import difflib
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from pochi_cli.characters import printable, visible
from pochi_cli.data.vector_tables import read_jsonl, read_parquet
from pochi_cli.errors import DataError, first_line

VECTOR_SUFFIXES = (".npy", ".npz", ".parquet", ".jsonl")
DEFAULT_COLUMN = "embedding"
"""The column, field or array that holds the vectors unless a user names another."""

_ALLOWED = f"vectors are read from {', '.join(VECTOR_SUFFIXES[:-1])} and {VECTOR_SUFFIXES[-1]}"
_AS_NUMBERS = "save numbers, such as np.save(path, rows.astype(np.float32))"
_DAMAGED = "save it again, or copy it again from where it came from"
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
"""Version 3.0 exists only for the names of a record's fields."""
_BAD_HEADER = (ValueError, SyntaxError, tokenize.TokenError, TypeError, LookupError, RecursionError)
"""A header is a Python literal, which numpy parses: what is damaged there fails in any of these ways."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """Stored vectors, as they lie in their file.

    Attributes:
        path: The file.
        array: (N, D) with N and D at least 1, float16, float32, float64 or integers as stored; of a .npy file
            a memory map, of which only what is touched is read. `read_rows` gives float32.
        column: The column, field or array of the file, where it has several.
    """

    path: Path
    array: NDArray[Any] = field(repr=False)
    column: str | None = None

    @property
    def rows(self) -> int:
        """Number of vectors, N."""
        return int(self.array.shape[0])

    @property
    def dim(self) -> int:
        """Numbers in each of them, D."""
        return int(self.array.shape[1])


def open_vectors(path: Path, column: str | None) -> Vectors:
    """Open a file of vectors. Whether its numbers are finite is left to `check_rows`.

    Args:
        path: A .npy file of shape (N, D); a .npz file with such an array; a .parquet file with a column of
            lists of numbers; or a .jsonl file with an object, or just a list of numbers, in each line.
        column: The array of a .npz file with several, the column or the field. `None` for `embedding`, or for
            the lists of a .jsonl file.

    Raises:
        DataError: It is missing, unreadable, of another kind or damaged, or its rows differ in length.
    """
    shown = printable(path)
    _require_file(path)
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return Vectors(path, _map_npy(path))
        if suffix == ".npz":
            return Vectors(path, *_read_npz(path, column))
        if suffix == ".parquet":
            column = column or DEFAULT_COLUMN
            return Vectors(path, read_parquet(path, column), column)
        if suffix == ".jsonl":
            return Vectors(path, *read_jsonl(path, column, DEFAULT_COLUMN))
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror or first_line(error)}") from error
    except MemoryError as error:
        hint = "a .npy file of float32 is read in place and needs no memory"
        raise DataError(f"{shown} does not fit into memory", hint) from error
    raise DataError(f"{shown} is no file of vectors by its name", _ALLOWED)


def _require_file(path: Path) -> None:
    shown = printable(path)
    try:
        if path.is_dir():
            raise DataError(f"{shown} is a directory, not a file of vectors", _ALLOWED)
        if path.exists() and not path.is_file():
            raise DataError(f"{shown} is not a regular file", _ALLOWED)
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise DataError(f"{shown} does not exist", _nearby(path)) from error
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror or error}") from error


def _nearby(path: Path) -> str:
    place = "" if path.is_absolute() else f"relative paths start at {printable(Path.cwd())}; "
    names = sorted(file.name for file in path.parent.glob("*") if file.suffix.lower() in VECTOR_SUFFIXES)
    close = difflib.get_close_matches(path.name, names, n=1)
    return place + (f"did you mean {printable(path.parent / close[0])}?" if close else "check the path")


class _Header(NamedTuple):
    """What a .npy file says of its array, and where that begins."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    start: int


def _read_header(file: IO[bytes], size: int, shown: str) -> _Header:
    """Read the header of a .npy file of `size` bytes, and refuse what is no table of numbers."""
    try:
        version = npy.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"version {version[0]}.{version[1]} of the format")
        shape, is_fortran, dtype = _READERS[version](file)
    except _BAD_HEADER as error:
        message = f"{shown} is not a valid .npy file: {visible(first_line(error))}"
        raise DataError(message, _DAMAGED) from error
    if dtype.hasobject:
        raise DataError(f"{shown} holds pickled Python objects, which are not read", _AS_NUMBERS)
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise DataError(f"{shown} holds {visible(str(dtype))}, not numbers of up to 64 bits", _AS_NUMBERS)
    if len(shape) != 2:
        hint = "vectors are the rows of a table (N, D), as of rows.reshape(len(rows), -1)"
        raise DataError(f"{shown} has the shape {shape}, which is not two-dimensional", hint)
    rows, dim = shape
    if rows == 0:
        raise DataError(f"{shown} has no rows: its shape is {shape}")
    if dim == 0:
        raise DataError(f"{shown} has rows without numbers: its shape is {shape}")
    start = file.tell()
    if min(shape) < 0 or size - start < math.prod(shape) * dtype.itemsize:
        held = max(size - start, 0)
        message = f"{shown} is cut short: its shape is {shape} of {dtype}, but {held} bytes follow"
        raise DataError(message, _DAMAGED)
    return _Header((int(rows), int(dim)), bool(is_fortran), dtype, start)


def _map_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        header = _read_header(file, path.stat().st_size, printable(path))
        order = "F" if header.is_fortran else "C"
        return np.memmap(file, header.dtype, "r", header.start, header.shape, order)  # type: ignore[call-overload,no-any-return]


def _read_npz(path: Path, column: str | None) -> tuple[NDArray[Any], str]:
    """Read an array of an .npz file, and tell which."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            chosen = _choose(arrays, column, printable(path))
            info = archive.getinfo(arrays[chosen])
            with archive.open(info) as file:
                _read_header(file, info.file_size, f"{printable(path)}, array `{visible(chosen)}`")
            with archive.open(info) as file:
                return npy.read_array(file, allow_pickle=False), chosen
    # What zipfile tells of damage, passwords and compressions that it does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        message = f"{printable(path)} is not a valid .npz file: {visible(first_line(error))}"
        raise DataError(message, _DAMAGED) from error


def _choose(arrays: Iterable[str], column: str | None, shown: str) -> str:
    names = list(arrays)
    if len(names) == 1:
        return names[0]
    if not names:
        raise DataError(f"{shown} holds no array")
    name = column or DEFAULT_COLUMN
    if name not in names:
        there = ", ".join(f"`{visible(name)}`" for name in names)
        raise DataError(f"{shown} has no array `{name}`", f"it has {there}")
    return name
