"""Rows of CSV files: those that a run writes while it is trained, and tables with names from outside."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from pochi_cli.errors import RunError
from pochi_cli.runs.atomic import write_text
from pochi_cli.runs.records import read_bytes


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


def write_table(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write rows, the header first.

    Raises:
        StorageError: Writing failed.
    """
    write_text(path, distinct_unicode(csv_lines(rows)))


def distinct_unicode(text: str) -> str:
    """Write what is no Unicode in names as escapes: two names must not become one."""
    return text.encode("utf-8", "backslashreplace").decode()


def read_table(path: Path) -> list[list[str]]:
    """Read all rows, the header first; a byte order mark and blank lines are as good as none.

    Raises:
        RunError: The file is missing, cannot be read, is no CSV, or is empty.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    if not rows:
        raise RunError(f"{path} is damaged: it is empty")
    return rows
