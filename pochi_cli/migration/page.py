"""What is written down while an old config is gone through."""

from __future__ import annotations

import ast

from pochi_cli.errors import Diagnostic, KeyPath, Note, Span
from pochi_cli.migration.inline import comment
from pochi_cli.migration.source import Source
from pochi_cli.migration.text import Part
from pochi_cli.migration.values import Place

_SINCE = "what it is made of cannot be known from here on"


class Page:
    """What an old config becomes.

    Attributes:
        source: The old file.
        parts: The parts of the new file.
        diagnostics: What is not carried over, or not as it was.
        origins: Where each key that is carried over stands in the old file.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.parts: list[Part] = []
        self.diagnostics: list[Diagnostic] = []
        self.origins: dict[str, Span] = {}
        self._lines: set[int] = set()  # of the old file, with a part of their own

    def remark(self, node: ast.stmt, text: str) -> None:
        """Add a comment in place of a statement."""
        self.place(node, [comment(text)])

    def place(self, node: ast.stmt, lines: list[str], *, is_table: bool = False) -> None:
        """Add lines in place of a statement, with the comments that stand above it."""
        is_first = node.lineno not in self._lines
        self._lines.add(node.lineno)
        above = self.source.comments_above(node.lineno) if is_first else []
        has_gap = is_first and self.source.is_blank(node.lineno - len(above) - 1)
        self.parts.append(
            Part(node.lineno, (*map(comment, above), *lines), is_table=is_table, has_gap=has_gap)
        )

    def warn(
        self,
        code: str,
        message: str,
        key: KeyPath,
        node: Place,
        help_: str | None = None,
        notes: tuple[Note, ...] = (),
    ) -> None:
        """Add a warning at a place of the old file."""
        self.diagnostics.append(
            Diagnostic(code, message, key, "warning", help_, notes, span=self.source.span(node))
        )

    def definition(self, cause: Place | None) -> tuple[Note, ...]:
        """Point at what made a value unknown."""
        if cause is None:
            return ()
        message = _SINCE
        if isinstance(cause, ast.ClassDef | ast.FunctionDef):
            message = f"`{cause.name}` is defined here"
        return (Note(message, span=self.source.span(cause)),)
