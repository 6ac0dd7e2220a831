"""Where each key and value of a TOML text stands.

The standard library's parser gives values without positions, and no library does so for just the texts that
it accepts: the text is parsed there first, and this index, which may then trust it to be valid, only walks
along its tokens. The tests hold both against each other: every key path of the parsed values has a key span
and a value span here, no other path has one, and the text of a value span parses to that value.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pochi_cli.errors import KeyPath, Span

_Range = tuple[int, int]

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY_PART = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|[A-Za-z0-9_-]+')
_SCALAR = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # up to two quotes may stand before the three that close
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'"
    r"|\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]*"  # a date and a time may be parted by a space
    r"|[^\s,\]}#]+",
    re.DOTALL,
)
_DEEPEST = 40
"""Levels that are indexed. Deeper values are refused as a whole (`wrong-type`), and their paths, each as long
as it is deep, would take memory that grows with the square of the depth."""


@dataclass
class _Container:
    """An array or inline table that is being walked."""

    path: KeyPath
    start: int
    is_array: bool
    entries: int = 0


class SourceText:
    """A text that was read, with its lines.

    Args:
        text: The text, with line ends of one character.
        source: What it was read from.
    """

    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source

    def span(self, start: int, end: int) -> Span:
        """Turn offsets into lines and columns."""
        line, column = self._place(start)
        end_line, end_column = self._place(end)
        return Span(self.source, line, column, end_line, end_column, self._line(line))

    def offset(self, line: int, column: int) -> int:
        """Turn a line and a column into an offset, at most that of the end."""
        return min(self._line_starts[min(line, len(self._line_starts)) - 1] + column - 1, len(self.text))

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def _place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def _line(self, line: int) -> str:
        start = self._line_starts[line - 1]
        end = self.text.find("\n", start)
        return self.text[start:] if end < 0 else self.text[start:end]


class TomlIndex:
    """Where the keys and values of a TOML text stand.

    Args:
        source: The text.
        accepted: What the parser has accepted in its place, of the same length; by default the text itself.
    """

    def __init__(self, source: SourceText, accepted: str | None = None) -> None:
        self._source = source
        self._text = source.text if accepted is None else accepted
        self._keys: dict[KeyPath, _Range] = {}
        self._values: dict[KeyPath, _Range] = {}
        self._tables: dict[KeyPath, int] = {}
        """Number of tables so far in each array of tables."""
        self.last_key: tuple[KeyPath, _Range] = ((), (0, 0))
        """Path and place of the name in the last header, or of the last key outside of values."""
        self._walk()

    def __iter__(self) -> Iterator[KeyPath]:
        """Iterate over the key paths of all values."""
        return iter(self._values)

    def key(self, path: KeyPath) -> Span | None:
        """Find a key: the last part of a dotted one; for an item of an array, the item."""
        found = self._keys.get(path)
        return self._source.span(*found) if found else self.value(path)

    def value(self, path: KeyPath) -> Span | None:
        """Find a value; of a table the header, or the part of a dotted key that made it."""
        found = self._values.get(path)
        return self._source.span(*found) if found else None

    def value_at(self, offset: int) -> KeyPath | None:
        """Find the value that begins at an offset."""
        return next((path for path, place in self._values.items() if place[0] == offset), None)

    def path_over(self, offset: int) -> KeyPath | None:
        """Find the shortest key or value that an offset lies in."""
        places = (*self._keys.items(), *self._values.items())
        over = [(end - start, path) for path, (start, end) in places if start <= offset < end]
        return min(over, key=lambda place: place[0])[1] if over else None

    def _walk(self) -> None:
        at = _after(_BLANK, self._text, 0)
        table: KeyPath = ()
        while at < len(self._text):
            if self._text[at] == "[":
                table, at = self._header(at)
            else:
                path, place, at = self._assigned_key(table, at)
                self.last_key = (path, place)
                at = self._walk_value(path, at)
            at = _after(_BLANK, self._text, at)

    def _header(self, start: int) -> tuple[KeyPath, int]:
        """Read `[a.b]` or `[[a.b]]`."""
        brackets = 2 if self._text.startswith("[[", start) else 1
        parts, at = self._key_parts(start + brackets)
        end = _after(_SPACE, self._text, at) + brackets
        path: KeyPath = ()
        for position, (part, place) in enumerate(parts):
            path = (*path, part)
            self.last_key = (path, place)
            if position == len(parts) - 1 and brackets == 1:
                self._keys[path], self._values[path] = place, (start, end)
                break
            self._keys.setdefault(path, place)
            self._values.setdefault(path, place if position < len(parts) - 1 else (start, end))
            if position == len(parts) - 1:
                self._tables[path] = self._tables.get(path, 0) + 1
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
        if brackets == 2:
            self._keys[path], self._values[path] = parts[-1][1], (start, end)
        return path, end

    def _assigned_key(self, table: KeyPath, start: int) -> tuple[KeyPath, _Range, int]:
        """Read `a.b =`; return the path and place of `b` and where its value begins."""
        parts, at = self._key_parts(start)
        path = table
        for part, place in parts:
            path = (*path, part)
            self._keys.setdefault(path, place)
            self._values.setdefault(path, place)
        at = _after(_SPACE, self._text, at) + 1
        return path, parts[-1][1], _after(_SPACE, self._text, at)

    def _key_parts(self, at: int) -> tuple[list[tuple[str, _Range]], int]:
        """Read the parts of a dotted key."""
        parts: list[tuple[str, _Range]] = []
        while True:
            at = _after(_SPACE, self._text, at)
            end = _after(_KEY_PART, self._text, at)
            if len(parts) < _DEEPEST:
                parts.append((_unquoted(self._text[at:end]), (at, end)))
            dot = _after(_SPACE, self._text, end)
            if not self._text.startswith(".", dot):
                return parts, end
            at = dot + 1

    def _walk_value(self, path: KeyPath, at: int) -> int:
        """Read a value with all that it holds, without recursion; return where it ends."""
        open_containers: list[_Container] = []
        while True:
            if self._text[at] in "[{":
                container = _Container(path, at, is_array=self._text[at] == "[")
                open_containers.append(container)
                at += 1
            else:
                end = _after(_SCALAR, self._text, at)
                self._record(path, at, end)
                at = end
            # Past commas, and out of containers that end here.
            while open_containers:
                container = open_containers[-1]
                at = _after(_BLANK, self._text, at)
                if self._text[at] == ",":
                    at = _after(_BLANK, self._text, at + 1)
                if self._text[at] not in "]}":
                    break
                at += 1
                self._record(container.path, container.start, at)
                open_containers.pop()
            else:
                return at
            if container.is_array:
                path = (*container.path[:_DEEPEST], container.entries)
                container.entries += 1
            else:
                path, _, at = self._assigned_key(container.path[:_DEEPEST], at)

    def _record(self, path: KeyPath, start: int, end: int) -> None:
        if len(path) <= _DEEPEST:
            self._values[path] = (start, end)


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None, f"no valid TOML at offset {at}"  # the parser has accepted it
    return match.end()


def _unquoted(part: str) -> str:
    if part[0] == '"' and "\\" in part:
        value: str = tomllib.loads(f"key = {part}")["key"]
        return value
    return part[1:-1] if part[0] in "\"'" else part
