"""Rows of the CSV files that a run writes while it is trained."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from pochi_cli.errors import RunError


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Write rows."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    # Left to itself the writer would not quote a carriage return, which ends a line for every reader.
    quoting = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in map(list, rows):
        (quoting if any("\r" in str(cell) for cell in row) else writer).writerow(row)
    return buffer.getvalue()


def read_rows(path: Path) -> list[list[str]]:
    """Read all rows, the header first.

    Raises:
        RunError: The file is missing, cannot be read, is no CSV, or is empty.
    """
    try:
        rows = list(csv.reader(io.StringIO(path.read_text("utf-8")), strict=True))
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    except (ValueError, csv.Error) as error:
        raise damaged(path, str(error)) from error
    if not rows:
        raise damaged(path, "it is empty")
    return rows


def damaged(path: Path, how: str) -> RunError:
    """Make the error of a file that something else has changed."""
    return RunError(
        f"{path} is damaged: {how}",
        hint="move it away with the other file of the trace, which then begins anew",
    )
