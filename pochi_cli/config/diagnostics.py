"""Diagnostics as text with the line they are about, as JSON records and as workflow annotations."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from rich.cells import cell_len, chop_cells

from pochi_cli.characters import veiled, visible
from pochi_cli.errors import Diagnostic, Note, Severity, Span

Role = Literal["error", "warning", "title", "gutter", "source", "help", "note"]
Fragment = tuple[str, Role]
Line = tuple[Fragment, ...]
"""A line of output: pieces of text, and what each is, so that a terminal may colour them."""

_TAB = " " * 4
_WIDEST_SOURCE = 160
"""Columns of a source line that are shown where the output has no width of its own."""
_LEAST_REMEDY = 24
"""Columns that the help needs beside the underline; with fewer it gets lines of its own."""


def _source(text: str) -> str:
    """Write a source line so that each character takes the columns it takes on the screen."""
    return veiled(text.replace("\t", _TAB))


def render(diagnostic: Diagnostic, width: int | None = None) -> Iterator[Line]:
    """Write a diagnostic with its source line, underline, help and notes.

    Args:
        diagnostic: What to write.
        width: Columns of the output; without, long messages stay on one line.
    """
    severity, span = diagnostic.severity, diagnostic.span
    yield from heading(severity, diagnostic.code, diagnostic.message, width)
    shown = span is not None and span.text.strip() != ""
    gutter = " " * (len(str(span.line)) if span and shown else 1)
    if span is not None:
        yield (f"{gutter}--> ", "gutter"), (visible(str(span)), "source")
    remedy = visible(diagnostic.help) if diagnostic.help else None
    beneath: list[Line] = []
    if span is not None and shown:
        yield ((f"{gutter} |", "gutter"),)
        text, indent, length = _excerpt(span, (width or _WIDEST_SOURCE) - len(gutter) - 3)
        yield (f"{span.line} | ", "gutter"), (text, "source")
        underline = " " * indent + "^" * length
        beside = remedy is not None and (
            width is None or len(gutter) + 4 + len(underline) + cell_len(remedy) <= width
        )
        yield (f"{gutter} | ", "gutter"), (underline, severity), (f" {remedy}" if beside else "", "help")
        remedy = None if beside else remedy
    if remedy:
        beneath.extend(remark("help", remedy, gutter, width))
    for note in diagnostic.notes:
        beneath.extend(remark("note", _note_text(note), gutter, width))
    if beneath and shown:
        yield ((f"{gutter} |", "gutter"),)
    yield from beneath


def heading(
    severity: Severity | Literal["note"], code: str, message: str, width: int | None
) -> Iterator[Line]:
    """Write what is wrong, after its code; `width` as in `render`."""
    title = f"{severity}[{code}]"
    first, *more = _wrapped(visible(message), width, len(title) + 2, 4)
    yield (title, severity), (f": {first}", "title")
    for text in more:
        yield ((f"    {text}", "title"),)


def _note_text(note: Note) -> str:
    message = visible(note.message)
    if note.span is None:
        return message
    return f"{message.removesuffix(' here')} at {visible(str(note.span))}"


def remark(kind: Literal["help", "note"], text: str, gutter: str, width: int | None) -> Iterator[Line]:
    """Write what belongs to it, beneath; `text` is visible, `width` as in `render`."""
    start = f"{gutter} = "
    indent = len(start) + len(kind) + 2
    first, *more = _wrapped(text, width, indent, indent)
    yield (start, "gutter"), (f"{kind}: ", kind), (first, "source")
    for line in more:
        yield (" " * indent, "gutter"), (line, "source")


def _wrapped(text: str, width: int | None, first_indent: int, indent: int) -> list[str]:
    if width is None or first_indent + cell_len(text) <= width:
        return [text]
    room = max(width - indent, _LEAST_REMEDY)
    head = " " * (first_indent - indent)
    # Wide characters count twice: the text is wrapped with a placeholder beside each.
    lines = textwrap.wrap(_doubled(text), room, initial_indent=head, break_on_hyphens=False)
    return [line.replace("\0", "").strip() for line in lines] or [""]


def _doubled(text: str) -> str:
    # Before it: a line that ends between the two is then one column short, not one too long.
    return "".join("\0" * (cell_len(character) - 1) + character for character in text)


def _excerpt(span: Span, room: int) -> tuple[str, int, int]:
    """Cut the part out of a long line that a span is in.

    Returns:
        The text, the columns before the underline, and those of the underline.
    """
    start = (span.column or 1) - 1
    end = (span.end_column or 1) - 1 if span.end_line == span.line else len(span.text.rstrip())
    before, marked, after = (
        _source(part) for part in (span.text[:start], span.text[start:end], span.text[end:])
    )
    room = max(room, 20)
    if cell_len(before) + min(cell_len(marked), room // 2) > room - 1:
        keep = room // 3
        before = "…" + (chop_cells(before[::-1], keep)[0][::-1] if before else "")
    length = max(1, min(cell_len(marked), room - cell_len(before)))
    text = (before + marked + after).rstrip()
    if cell_len(text) > room:
        text = chop_cells(text, room - 1)[0] + "…"
    return text, cell_len(before), length


def summary(diagnostics: Iterable[Diagnostic], source: str | None = None) -> str:
    """Count them: `2 errors, 0 warnings in flowers.toml`."""
    severities = [diagnostic.severity for diagnostic in diagnostics]
    counts = ((severities.count(name), name) for name in ("error", "warning"))
    text = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts)
    return f"{text} in {visible(source)}" if source else text


def to_record(diagnostic: Diagnostic) -> dict[str, Any]:
    """Make a record for JSON; lines and columns count from 1, the end is the first character behind."""
    span = diagnostic.span
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "file": span and span.source,
        "line": span and span.line,
        "column": span and span.column,
        "end_line": span and span.end_line,
        "end_column": span and span.end_column,
        "help": diagnostic.help,
        "notes": [
            {
                "message": note.message,
                "file": note.span and note.span.source,
                "line": note.span and note.span.line,
                "column": note.span and note.span.column,
            }
            for note in diagnostic.notes
        ],
    }


def to_annotation(diagnostic: Diagnostic) -> str:
    """Write a workflow command, which GitHub shows beside the line."""
    span = diagnostic.span or Span("")
    properties = {
        "file": span.source,
        "line": span.line,
        "col": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column if span.end_line == span.line else None,
        "title": diagnostic.code,
    }
    given = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items() if value)
    remarks = [diagnostic.message, diagnostic.help or "", *map(_note_text, diagnostic.notes)]
    message = _data("\n".join(remark for remark in remarks if remark))
    return f"::{diagnostic.severity} {given}::{message}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
