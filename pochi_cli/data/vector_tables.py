"""Vectors in a column of a .parquet file or in the lines of a .jsonl file. Free of torch."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pochi_cli.characters import printable, visible
from pochi_cli.errors import DataError, first_line

_BATCH_ROWS = 8192


def read_parquet(path: Path, column: str) -> NDArray[np.float32]:
    """Read a column of lists, of whatever kind, of numbers.

    Returns:
        float32 (N, D).

    Raises:
        DataError: pyarrow or the column is missing, the file is damaged, a row is null or differs in length.
    """
    shown = printable(path)
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        message = f"{shown}: reading .parquet needs pyarrow, not installed here"
        raise DataError(message, 'pip install "pochi[parquet]"') from error
    try:
        with path.open("rb") as stream, parquet.ParquetFile(stream) as file:
            _require_column(file.schema_arrow, column, shown)
            return _read_column(file, column, f"{shown}, column `{visible(column)}`")
    # Damaged names and counts fail with a ValueError.
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        message = f"{shown} is not a readable .parquet file: {visible(first_line(error))}"
        raise DataError(message, "write it again, or copy it again from where it came from") from error


def _require_column(schema: Any, column: str, shown: str) -> None:
    from pyarrow import types

    there = ", ".join(f"`{visible(name)}`" for name in schema.names) or "no column at all"
    if schema.names.count(column) != 1:
        fault = "several columns" if column in schema.names else "no column"
        raise DataError(f"{shown} has {fault} `{visible(column)}`", f"it has {there}")
    kind = schema.field(column).type
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not is_list or not (types.is_integer(kind.value_type) or types.is_floating(kind.value_type)):
        message = f"{shown}, column `{visible(column)}` holds {visible(str(kind))}, not lists of numbers"
        raise DataError(message, f"it has {there}")


def _read_column(file: Any, column: str, shown: str) -> NDArray[np.float32]:
    rows = file.metadata.num_rows
    vectors = np.empty((0, 0), np.float32)
    done = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[column]):
        if not len(batch):
            continue
        values = _rectangle(batch.column(0), done, vectors.shape[1], shown)
        if not done:
            vectors = np.empty((rows, values.shape[1]), np.float32)
        vectors[done : done + len(values)] = _narrowed(values, done, shown)
        done += len(values)
    if not done:
        raise DataError(f"{shown} has no rows")
    if done != rows:
        raise ValueError(f"{done} rows instead of {rows}")
    return vectors


def _rectangle(cells: Any, start: int, dim: int, shown: str) -> NDArray[Any]:
    """Give the lists of a batch as an array (rows, D).

    Args:
        cells: pyarrow's array of lists.
        start: Number of its first row in the file.
        dim: Length of the lists before it; 0 where it is the first.
        shown: What messages begin with.
    """
    from pyarrow import compute

    if cells.null_count:
        row = start + _first(cells.is_null().to_numpy(zero_copy_only=False))
        raise DataError(f"{shown}: row {row} (counted from 0) is null", "leave such rows out")
    lengths = compute.list_value_length(cells).to_numpy(zero_copy_only=False)
    dim = dim or int(lengths[0])
    if not dim:
        raise DataError(f"{shown}: row 0 (counted from 0) has no numbers")
    if (lengths != dim).any():
        row = _first(lengths != dim)
        raise _ragged(f"{shown}: row {start + row} (counted from 0)", int(lengths[row]), dim)
    values = cells.flatten()
    if values.null_count:
        row = start + _first(values.is_null().to_numpy(zero_copy_only=False)) // dim
        raise DataError(f"{shown}: row {row} (counted from 0) holds a null", "leave such rows out")
    rectangle: NDArray[Any] = values.to_numpy(zero_copy_only=False).reshape(-1, dim)
    return rectangle


def read_jsonl(path: Path, column: str | None, default: str) -> tuple[NDArray[np.float32], str | None]:
    """Read lines that are objects with a list of numbers in a field, or such lists themselves.

    Empty lines count as lines, but not as rows.

    Args:
        path: The file.
        column: The field; `None` for the default one, or where lines are lists.
        default: The default one.

    Returns:
        float32 (N, D), and the field, where the first line is an object.

    Raises:
        DataError: A line is none of that, or its list is of another length or not finite; there is none.
        OSError: Reading failed.
    """
    # It grows as a list does, but holds 4 bytes a number where a list holds 32.
    numbers = array("f")
    row = dim = 0
    found = column
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            shown = f"{printable(path)}, line {number}: row {row} (counted from 0)"
            content = _parse(line, shown)
            if row == 0 and column is None and isinstance(content, dict):
                found = default
            values = _list_of_numbers(content, column, default, shown)
            dim = dim or len(values)
            if len(values) != dim:
                raise _ragged(shown, len(values), dim)
            numbers.frombytes(_row_of_numbers(values, shown).tobytes())
            row += 1
    if not row:
        raise DataError(f"{printable(path)} has no rows")
    return np.frombuffer(numbers, np.float32).reshape(row, dim), found


def _parse(line: bytes, shown: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown} is not JSON: {visible(first_line(error))}") from error


def _list_of_numbers(content: Any, column: str | None, default: str, shown: str) -> list[float]:
    field = column or default
    if isinstance(content, dict):
        if field not in content:
            there = ", ".join(f"`{visible(name)}`" for name in content) or "no field at all"
            raise DataError(f"{shown} has no field `{visible(field)}`", f"it has {there}")
        content = content[field]
        shown = f"{shown}, field `{visible(field)}`"
    elif column is not None:
        hint = "name no column where the lines are the lists" if isinstance(content, list) else None
        raise DataError(f"{shown} is no object with a field `{visible(column)}`", hint)
    if not isinstance(content, list):
        raise DataError(f"{shown} is not a list of numbers")
    if not content:
        raise DataError(f"{shown} has no numbers")
    if not set(map(type, content)) <= {int, float}:
        place = next(i for i, value in enumerate(content) if type(value) not in (int, float))
        text = visible(json.dumps(content[place], ensure_ascii=False))
        text = text if len(text) <= 40 else text[:40] + "…"
        raise DataError(f"{shown} holds {text} at position {place}, not a number")
    return content


def _row_of_numbers(values: list[float], shown: str) -> NDArray[np.float32]:
    try:
        numbers = np.array(values, np.float64)
    except OverflowError as error:  # an integer of more than 308 digits
        raise _too_large(shown) from error
    if not np.isfinite(numbers).all():
        place = _first(~np.isfinite(numbers))
        # JSON has no notation for these; Python's reader takes NaN, Infinity and 1e999 all the same.
        raise DataError(f"{shown} holds {numbers[place]} at position {place}, which is not finite")
    with np.errstate(over="ignore"):
        narrow = numbers.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise _too_large(shown)
    return narrow


def _narrowed(values: NDArray[Any], start: int, shown: str) -> NDArray[np.float32]:
    """Convert rows to float32, and refuse numbers that become infinite by that."""
    with np.errstate(over="ignore"):
        narrow: NDArray[np.float32] = values.astype(np.float32, copy=False)
    if values.dtype == np.float64:
        lost = (np.isinf(narrow) & np.isfinite(values)).any(axis=1)
        if lost.any():
            raise _too_large(f"{shown}: row {start + _first(lost)} (counted from 0)")
    return narrow


def _first(is_it: NDArray[Any]) -> int:
    return int(np.argmax(is_it))


def _too_large(shown: str) -> DataError:
    return DataError(f"{shown} holds a number too large for float32", "scale the vectors down")


def _ragged(shown: str, length: int, dim: int) -> DataError:
    return DataError(f"{shown} has {length} numbers, row 0 has {dim}", "all rows must have the same length")
