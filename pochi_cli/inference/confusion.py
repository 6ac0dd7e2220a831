"""A confusion matrix, to and from its CSV. Free of torch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pochi_cli.errors import RunError
from pochi_cli.inference.scores import Counts
from pochi_cli.runs.index import Run, find_run, names_file
from pochi_cli.runs.inference_layout import inferences_in
from pochi_cli.runs.rows import read_table, write_table

_CORNER = "true/predicted"
_MATRIX_FORM = (
    f"a confusion matrix is a CSV of the form {_CORNER},<class>,... with a row of counts for each class, "
    "in the same order"
)


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Images by true class (row) and predicted class (column).

    Attributes:
        class_names: Name of each class.
        counts: int64 (K, K).
    """

    class_names: tuple[str, ...]
    counts: Counts


@dataclass(frozen=True)
class ConfusionFile:
    """Where a confusion matrix lies.

    Attributes:
        path: The CSV.
        run: The run that it is of, where it was found by that.
    """

    path: Path
    run: Run | None = None


def write_confusion_matrix(path: Path, matrix: ConfusionMatrix) -> None:
    """Write a confusion matrix as CSV.

    Raises:
        StorageError: Writing failed.
    """
    rows = zip(matrix.class_names, matrix.counts.tolist(), strict=True)
    write_table(path, [[_CORNER, *matrix.class_names], *([name, *counts] for name, counts in rows)])


def find_confusion_matrix(reference: str, work_dir: Path) -> ConfusionFile:
    """Find a confusion matrix: the newest of a run, or a CSV.

    Args:
        reference: The path of a CSV, or what names a run.
        work_dir: Where runs are looked up by all but a path.

    Raises:
        RunError: There is no such run, or it has none.
    """
    if names_file(reference, ".csv"):
        return ConfusionFile(Path(reference))
    run = find_run(reference, work_dir)
    if run.record.task != "classification":
        raise RunError(f"{run.layout.name} has no confusion matrix: it is an encoder of vectors")
    for layout in reversed(inferences_in(run.layout.inference_results)):
        if layout.confusion_matrix.exists():
            return ConfusionFile(layout.confusion_matrix, run)
    raise RunError(
        f"nothing was inferred with {run.layout.name} on images whose classes are known",
        hint=f"do so first: pochi infer {shlex.quote(str(run.directory))}",
    )


def read_confusion_matrix(path: Path) -> ConfusionMatrix:
    """Read the CSV of a confusion matrix, from Pochi or from another tool.

    Raises:
        RunError: It cannot be read or is something else; the message names row and column, from 1.
    """
    rows = read_table(path)
    names = rows[0][1:]
    try:
        if not names:
            raise ValueError("its first row names no class")
        if (given := [row[0] for row in rows[1:]]) != names:
            raise ValueError(f"its columns are {_few(names)} and its rows {_few(given)}")
        counts = np.array(
            [_read_counts(row, number, len(names)) for number, row in enumerate(rows[1:], 2)], dtype=np.int64
        )
    except ValueError as error:
        raise RunError(f"{path} is no confusion matrix: {error}", hint=_MATRIX_FORM) from error
    return ConfusionMatrix(tuple(names), counts)


def _read_counts(row: Sequence[str], number: int, columns: int) -> list[int]:
    if len(row) != columns + 1:
        raise ValueError(f"row {number} has {len(row)} cells, the first {columns + 1}")
    for column, cell in enumerate(row[1:], 2):
        if not (cell.strip().isascii() and cell.strip().isdecimal() and len(cell.strip()) <= 15):
            raise ValueError(f"row {number}, column {column}: {cell!r} is no count")
    return [int(cell) for cell in row[1:]]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
