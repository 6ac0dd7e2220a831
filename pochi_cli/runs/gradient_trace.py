"""A gradient trace, the norm of each layer's gradient over the epochs, and the CSV that holds it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pochi_cli.errors import RunError
from pochi_cli.runs.index import Run, find_run, names_file
from pochi_cli.runs.records import require_file
from pochi_cli.runs.typed import shown

_FORM = (
    "a gradient trace is a CSV of the form epoch,<name>,... with commas between and one row for each epoch"
)
_LAST_EPOCH = 10**9


@dataclass(frozen=True, eq=False)
class GradientTrace:
    """Norms of the layers' gradients over the epochs.

    Attributes:
        epochs: The recorded ones, rising; there may be gaps.
        names: The layers, or blocks of them, in the order of the network.
        values: The norms from 0, float64 of shape (epochs, layers); NaN where there is none or none finite.
        not_finite: Of the same shape: where a norm was measured that is not finite.
    """

    epochs: tuple[int, ...]
    names: tuple[str, ...]
    values: NDArray[np.float64]
    not_finite: NDArray[np.bool_]


@dataclass(frozen=True)
class TraceFile:
    """Where a gradient trace lies.

    Attributes:
        path: The CSV.
        run: The run that recorded it, where it was found by that.
    """

    path: Path
    run: Run | None = None


def find_gradient_trace(reference: str, work_dir: Path) -> TraceFile:
    """Find a gradient trace.

    Args:
        reference: The path of a CSV, or what names a run.
        work_dir: Where runs are looked up by all but a path.

    Raises:
        RunError: There is no such run, or it has no trace, or something else in its place.
    """
    if names_file(reference, ".csv"):
        return TraceFile(Path(reference))
    run = find_run(reference, work_dir)
    trace = run.layout.gradient_trace
    if not trace.exists():
        raise RunError(
            f"the run {run.directory} has no gradient trace",
            hint="only a training with enable_gradient_tracking records one; the CSV of another trace, "
            "from anywhere, can be given by its path",
        )
    require_file(trace)
    return TraceFile(trace, run)


def read_gradient_trace(path: Path) -> GradientTrace:
    """Read the CSV of a gradient trace, from Pochi or from another tool.

    The first column is `epoch`, whole numbers from 0 in any order, each once; each other column is a layer.
    A norm is a decimal number from 0; cells that are empty, NaN or infinite are allowed. A byte order mark,
    any line ends, blank lines and spaces around cells are as good as none.

    Raises:
        RunError: It cannot be read or is something else; the message names row and column, from 1.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return _parse(_decode(content))
    except ValueError as error:
        raise RunError(f"{path} is not a gradient trace: {error}", hint=_FORM) from error


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].splitlines(keepends=True)
        if not before or before[-1].endswith((b"\n", b"\r")):
            before.append(b"")
        column = before[-1].count(b",") + 1
        byte = error.object[error.start]
        raise ValueError(f"row {len(before)}, column {column} is not UTF-8 (byte 0x{byte:02x})") from error


def _parse(text: str) -> GradientTrace:
    rows = _numbered_rows(text)
    number, header = next(rows, (0, []))
    if not header:
        raise ValueError("it is empty")
    names = _read_header(number, header)
    taken: dict[int, int] = {}
    norms: list[list[float]] = []
    for number, cells in rows:
        _check_length(number, cells, header)
        epoch = _read_epoch(number, cells[0])
        if epoch in taken:
            raise ValueError(f"row {number}, column 1 (epoch) is {epoch}, as in row {taken[epoch]}")
        taken[epoch] = number
        norms.append([_read_norm(number, column, header, cell) for column, cell in _others(cells)])
    if not norms:
        raise ValueError("it has no row below the header")
    order = np.argsort(list(taken))
    recorded = np.array(norms)[order]
    is_finite = np.isfinite(recorded)
    return GradientTrace(
        epochs=tuple(sorted(taken)),
        names=names,
        values=np.where(is_finite, recorded, np.nan),
        not_finite=~is_finite & (recorded != _EMPTY),
    )


_EMPTY = -math.inf
"""Stands for an empty cell, which a norm that is read never is."""


def _numbered_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Split a CSV into its rows, each with the number of its first line; blank lines are left out."""
    # With newline="" the lines end where an editor ends them, and line ends within quotes stay.
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    number = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if cells not in ([], [""]):
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"row {number} is not CSV: {error}") from error


def _others(cells: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Number the columns behind the first."""
    return enumerate(cells[1:], start=2)


def _read_header(number: int, header: Sequence[str]) -> tuple[str, ...]:
    if header[0].lower() != "epoch":
        raise ValueError(f"row {number}, column 1 is {shown(header[0])}, not epoch")
    if len(header) == 1:
        raise ValueError(f"row {number} names no layer after epoch")
    columns: dict[str, int] = {}
    for column, name in _others(header):
        if not name:
            raise ValueError(f"row {number}, column {column} has no name")
        if name in columns:
            raise ValueError(f"row {number}, column {column} is {shown(name)}, as column {columns[name]}")
        columns[name] = column
    return tuple(columns)


def _check_length(number: int, cells: Sequence[str], header: Sequence[str]) -> None:
    if len(cells) < len(header):
        place = _place(number, len(cells) + 1, header)
        raise ValueError(f"{place} is missing: the row has {len(cells)} cells, the header {len(header)}")
    if len(cells) > len(header):
        place = f"row {number}, column {len(header) + 1}"
        raise ValueError(f"{place} has no name: the row has {len(cells)} cells, the header {len(header)}")


def _read_epoch(number: int, cell: str) -> int:
    value = _read_float(cell)  # some tools write whole numbers as 1.0
    if value is None or not 0 <= value <= _LAST_EPOCH or value != int(value):
        raise ValueError(f"row {number}, column 1 (epoch) is {shown(cell)}, not a whole number from 0")
    return int(value)


def _read_norm(number: int, column: int, header: Sequence[str], cell: str) -> float:
    if not cell:
        return _EMPTY
    value = _read_float(cell)
    if value is None:
        raise ValueError(f"{_place(number, column, header)} is {shown(cell)}, not a number")
    if value < 0:
        raise ValueError(f"{_place(number, column, header)} is {cell}: a norm is never negative")
    return value


def _place(number: int, column: int, header: Sequence[str]) -> str:
    name = header[column - 1]
    return f"row {number}, column {column} ({name if len(name) <= 60 else f'{name[:57]}...'})"


def _read_float(cell: str) -> float | None:
    # Python also takes 1_000 and digits of every script for numbers, which no tool writes.
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell)
    except ValueError:
        return None
