"""Vectors, written row by row into a file that is there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, NDArray

from pochi_cli.characters import printable
from pochi_cli.errors import DataError, StorageError
from pochi_cli.runs.atomic import atomic_writer, followed

OUTPUT_SUFFIXES = (".npy", ".parquet")

_ROW_GROUP_BYTES = 16 << 20
"""Smaller chunks are gathered: each row group has a cost of its own for whoever reads."""

_Append = Callable[[NDArray[np.float32]], None]


class VectorWriter:
    """Takes the rows in order, in chunks of any length.

    Args:
        rows: How many there will be.
        dim: Numbers in each.
        append: Writes a chunk.
    """

    def __init__(self, rows: int, dim: int, append: _Append) -> None:
        self.rows, self.dim, self.written = rows, dim, 0
        self._append = append

    def write(self, chunk: ArrayLike) -> None:
        """Write float32 (n, dim), of any n; other numbers are converted.

        Raises:
            ValueError: It has another shape, or there are more rows than announced.
        """
        values = np.ascontiguousarray(chunk, dtype="<f4")
        if values.ndim != 2 or values.shape[1] != self.dim:
            raise ValueError(f"a chunk has the shape {values.shape}, not (n, {self.dim})")
        if self.written + len(values) > self.rows:
            raise ValueError(f"{self.written + len(values)} rows for a file of {self.rows}")
        if len(values):
            self._append(values)
            self.written += len(values)


@contextmanager
def writing_vectors(path: Path, rows: int, dim: int, column: str = "embedding") -> Iterator[VectorWriter]:
    """Open a file of float32 vectors to write inside the block, in bounded memory.

    It replaces `path`, or what that leads to as a link, when the block ends well. When anything fails an
    existing file stays as it is and nothing else is left.

    Args:
        path: A .npy file, or a .parquet file with one column of lists of a fixed size.
        rows: How many vectors there will be.
        dim: Numbers in each, at least 1.
        column: Name of that column.

    Raises:
        DataError: The name ends in something else, or pyarrow is missing for .parquet.
        StorageError: Writing failed.
        ValueError: Fewer rows were written than announced.
    """
    suffix = path.suffix.lower()
    if suffix not in OUTPUT_SUFFIXES:
        raise DataError(
            f"{printable(path)} is no file that vectors are written to by its name",
            f"vectors are written to {' and '.join(OUTPUT_SUFFIXES)}",
        )
    if suffix == ".parquet":
        _require_pyarrow(path)
    target = followed(path)
    if target.is_dir():
        raise StorageError(f"cannot write {printable(path)}: it is a directory")
    format_writer = _npy_writer if suffix == ".npy" else _parquet_writer
    with atomic_writer(target) as file, format_writer(file, rows, dim, column) as append:
        writer = VectorWriter(rows, dim, append)
        yield writer
        if writer.written != rows:
            raise ValueError(f"{writer.written} rows for a file of {rows}")


def _require_pyarrow(path: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401 - whether it is there
    except ImportError as error:
        message = f"{printable(path)}: writing .parquet needs pyarrow, not installed here"
        raise DataError(message, 'pip install "pochi[parquet]"') from error


@contextmanager
def _npy_writer(file: IO[bytes], rows: int, dim: int, _: str) -> Iterator[_Append]:
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
    npy.write_array_header_1_0(file, header)

    def append(values: NDArray[np.float32]) -> None:
        file.write(values.data)

    yield append


@contextmanager
def _parquet_writer(file: IO[bytes], rows: int, dim: int, column: str) -> Iterator[_Append]:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([pa.field(column, pa.list_(pa.float32(), dim))])
    group_rows = max(1, _ROW_GROUP_BYTES // (4 * dim))
    gathered = np.empty((min(group_rows, rows), dim), np.float32)
    held = 0
    # A dictionary of numbers that hardly recur only costs.
    writer: Any = parquet.ParquetWriter(file, schema, use_dictionary=False)

    def flush() -> None:
        nonlocal held
        lists = pa.FixedSizeListArray.from_arrays(pa.array(gathered[:held].reshape(-1)), dim)
        writer.write_table(pa.Table.from_arrays([lists], schema=schema))
        held = 0

    def append(values: NDArray[np.float32]) -> None:
        nonlocal held
        while len(values):
            taken = values[: len(gathered) - held]
            gathered[held : held + len(taken)] = taken
            held += len(taken)
            values = values[len(taken) :]
            if held == len(gathered):
                flush()

    try:
        yield append
        if held:
            flush()
        writer.close()
    finally:
        # Otherwise pyarrow would end a file that failed once it is collected, when that is closed.
        writer.is_open = False
