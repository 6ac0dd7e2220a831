"""Parsing that goes on after a mistake, so that one unquoted word does not hide all that comes after it.

The parser stops at the first mistake. Where it is plain what was meant, that stretch is overwritten by
something valid of the same length, which keeps every place, and the text is parsed again.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Final

from pochi_cli.config.spans import SourceText
from pochi_cli.config.syntax import NOTHING, OTHER_WORDS, parse_toml
from pochi_cli.errors import ConfigError, Diagnostic, Note, Span

_MOST_ROUNDS = 50
_EFFORT = 2_000_000
"""Characters that are parsed in all rounds together: a second or two."""

ABSENT: Final = object()
"""What is meant by a value that says that there is none, or by one that cannot be made out."""
UNSURE: Final = object()
"""What is meant by a string of which a character was replaced: it stays, but is not held against anything."""

_WORD = re.compile(r"[A-Za-z_./~][^,\]}#\n=\"'(\[{]*")
_NUMBER = re.compile(r"[+-]?[\d.][^\s,\]}#]*")
_NUMBER_WITH_COMMA = re.compile(rf"{_NUMBER.pattern}(,[0-9]+)?")
_STRING = re.compile(r"\"(?!\"\")[^\"\n]*(?=\n|\Z)|'(?!'')[^'\n]*(?=\n|\Z)")
_ENTRY = re.compile(r"[^,\]}\n]*")
"""What of an unclosed string belongs to one entry of an array or inline table."""
_TUPLE = re.compile(r"\(([^()\n]*)\)")
_LONG_TABLE = re.compile(r"\{[^{}#]*\n[^{}#]*\}")
_LAST_COMMA = re.compile(r",[ \t]*(?=#|\n|\Z)")
_LONE_KEY = re.compile(r"[ \t]*[A-Za-z0-9_-]+(?=[ \t]+(?:[\d\"'\[{+.-]|true\b|false\b))")


@dataclass(frozen=True)
class MendedValue:
    """A value that the parser refused.

    Attributes:
        start: Its offset.
        meant: What it probably means; `ABSENT` for nothing.
    """

    start: int
    meant: Any


@dataclass(frozen=True)
class Parsed:
    """A text that was parsed, perhaps after mending.

    Attributes:
        raw: The contents.
        text: What the parser accepted, as long as the original.
        values: The values that were mended.
        diagnostics: The mistakes that the parser found.
    """

    raw: dict[str, Any]
    text: str
    values: tuple[MendedValue, ...]
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True)
class _Mend:
    start: int
    filler: str
    value: MendedValue | None = None
    is_whole: bool = True  # whether what it covers is mended with it, so that no other mistake is in there

    @property
    def end(self) -> int:
        return self.start + len(self.filler)

    def covers(self, offset: int) -> bool:
        return self.start <= offset <= (self.end if self.is_whole else self.start)


def parse(source: SourceText) -> Parsed:
    """Parse a TOML text as far as it can be understood.

    Raises:
        ConfigError: With the mistakes up to one after which nothing can be said.
    """
    text = source.text
    found: list[Diagnostic] = []
    mends: list[_Mend] = []
    for _ in range(max(1, min(_MOST_ROUNDS, _EFFORT // max(len(text), 1)))):
        current = SourceText(text, source.source)
        try:
            values = tuple(mend.value for mend in mends if mend.value is not None)
            return Parsed(parse_toml(current), text, values, tuple(found))
        except ConfigError as error:
            (diagnostic,) = error.diagnostics
        mend = _mend(current, diagnostic.span)
        start = 0 if diagnostic.span is None else _offsets(current, diagnostic.span)[0]
        if any(earlier.covers(start) for earlier in mends) or any(
            earlier.span and diagnostic.span and str(earlier.span) == str(diagnostic.span)
            for earlier in found
        ):
            break  # what was put in its place did not help
        if mend is None or not any(_is_same_string(text, earlier, mend) for earlier in mends):
            found.append(_shown_in(source, current, diagnostic))
        if mend is None:
            break
        text = text[: mend.start] + mend.filler + text[mend.end :]
        mends.append(mend)
    rest = Note("the rest of the file was not checked")
    found[-1] = dataclasses.replace(found[-1], notes=(*found[-1].notes, rest))
    raise ConfigError(found)


def _is_same_string(text: str, earlier: _Mend, later: _Mend) -> bool:
    """Tell whether two escapes stand in one string: the first says enough of it."""
    between = text[earlier.end : later.start]
    return earlier.filler == later.filler == "/" and '"' not in between and "\n" not in between


def _shown_in(source: SourceText, current: SourceText, diagnostic: Diagnostic) -> Diagnostic:
    """Let the places of a diagnostic on the mended text show the text as it was written."""

    def shown(span: Span | None) -> Span | None:
        if span is None or span.line is None:
            return span
        return source.span(*_offsets(current, span))

    notes = tuple(Note(note.message, note.key, shown(note.span)) for note in diagnostic.notes)
    return dataclasses.replace(diagnostic, span=shown(diagnostic.span), notes=notes)


def _offsets(source: SourceText, span: Span) -> tuple[int, int]:
    start = source.offset(span.line or 1, span.column or 1)
    return start, source.offset(span.end_line or 1, span.end_column or 1)


def _mend(source: SourceText, span: Span | None) -> _Mend | None:
    """Find what can stand in the place of a mistake."""
    if span is None or span.line is None:
        return None
    text = source.text
    start, _ = _offsets(source, span)
    character = text[start : start + 1]
    before = text[:start].rstrip()
    line = text[text.rfind("\n", 0, start) + 1 : start]
    if character == "\\" and '"' in line:  # an escape in a string
        return _Mend(start, "/", MendedValue(start, UNSURE))
    if character == "=" and before.endswith("="):
        return _Mend(start, " ")
    if character == ":":
        return _Mend(start, "=")
    if _LAST_COMMA.match(text, start):
        return _Mend(start, " ")
    if character == "}" and before.endswith(","):
        return _Mend(len(before) - 1, " ")
    if table := _LONG_TABLE.match(text, start):
        return _Mend(start, table.group().replace("\n", " "), is_whole=False)
    if tuple_ := _TUPLE.match(text, start):
        return _Mend(start, f"[{tuple_[1]}]")
    if before[-1:] in ("=", "[", ","):
        return _mended_value(text, start, line)
    if lone := _LONE_KEY.match(text, start - len(line)):
        return _Mend(lone.end(), "=")
    return None


def _mended_value(text: str, start: int, line: str) -> _Mend | None:
    """Mend a value behind the beginning of its line."""
    alone = "=" in line and not any(bracket in line for bracket in "[{")
    if string := _STRING.match(text, start):
        written = string.group()
        if not alone and (entry := _ENTRY.match(written)):
            written = entry.group().rstrip()
        return _overwritten(start, written, written[1:])
    if number := (_NUMBER_WITH_COMMA if alone else _NUMBER).match(text, start):
        return _overwritten(start, number.group(), _as_number(number.group()))
    if match := _WORD.match(text, start):
        word = match.group().rstrip()
        if word in NOTHING:
            return _overwritten(start, word, ABSENT)
        named = {"true": True, "false": False, "nan": math.nan, "inf": math.inf}
        return _overwritten(start, word, named.get(OTHER_WORDS.get(word, ""), word))
    return None


def _overwritten(start: int, written: str, meant: Any) -> _Mend:
    length = len(written)
    filler = "1" * length
    return _Mend(start, filler, MendedValue(start, meant))


def _as_number(text: str) -> Any:
    try:
        return float(text) if any(mark in text for mark in ".eE") else int(text)
    except ValueError:
        return ABSENT
