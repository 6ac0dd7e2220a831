"""What the TOML parser says of a broken file, in the user's terms and with the likely fix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pochi_cli.config.foreign import Said as _Said
from pochi_cli.config.foreign import explain_foreign
from pochi_cli.config.spans import SourceText, TomlIndex
from pochi_cli.errors import ConfigError, Diagnostic, Note, Span, format_key

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TOKEN = re.compile(r"[^\s,\]}#]*")
_NUMBER = re.compile(r"[+-]?\.?\d")
_MOST_PARTS = 100
_DEEP_KEY = re.compile(
    rf"(?<![^\n{{,\[\s])(?:(?:[A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*')[ \t]*\.[ \t]*){{{_MOST_PARTS}}}"
)
"""For these the parser's time grows with the square of their length: half a megabyte would take hours."""
OTHER_WORDS = {
    "True": "true",
    "yes": "true",
    "on": "true",
    "False": "false",
    "no": "false",
    "off": "false",
    "NaN": "nan",
    "Inf": "inf",
    "Infinity": "inf",
}
NOTHING = frozenset({"None", "null", "nil", "~"})
_CLOSE = "close it on its line; a string of several lines goes in triple quotes"
_STRINGS = re.compile(
    r"""#[^\n]*|"{3}(?:\\.|[^\\])*?"{3}|'{3}.*?'{3}"""
    r"""|"(?!"")(?:\\.|[^"\\\n])*"|'(?!'')[^'\n]*'|(?P<open>["'])""",
    re.DOTALL,
)
"""Comments, strings, and a quote that opens what is never closed."""
_TWICE = re.compile(r"Cannot |Duplicate inline table key")


@dataclass(frozen=True)
class _Broken:
    """A text, and where the parser gave up.

    Attributes:
        text: The text.
        at: Offset.
        said: What the parser said, without the place.
    """

    text: str
    at: int
    said: str

    @property
    def token(self) -> str:
        """What stands there, up to a space, a comma, a bracket or a comment."""
        match = _TOKEN.match(self.text, self.at)
        return match.group() if match else ""

    @property
    def line(self) -> str:
        """What stands before it on its line."""
        return self.text[self.text.rfind("\n", 0, self.at) + 1 : self.at]


def parse_toml(source: SourceText) -> dict[str, Any]:
    """Parse a TOML text.

    Raises:
        ConfigError: `invalid-toml`, with the place.
    """
    text = source.text
    if (lone := text.find("\r")) >= 0:  # the parser would take it for a part of a line's end
        message = "a carriage return (U+000D) stands where no line ends"
        span = source.span(lone, lone + 1)
        raise ConfigError([Diagnostic("invalid-toml", message, help="remove it", span=span)])
    if deep := _DEEP_KEY.search(text):
        message = f"a dotted key has more than {_MOST_PARTS} parts"
        raise ConfigError([Diagnostic("invalid-toml", message, span=source.span(*deep.span()))])
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        diagnostic = _explain(source, str(error))
    except RecursionError:
        message = "arrays or tables are nested too deeply"
        diagnostic = Diagnostic("invalid-toml", message, span=Span(source.source))
    except ValueError:  # the only other one: Python reads integers of up to 4,300 digits
        number = re.search(r"[0-9_]{4301,}", text)
        span = source.span(*number.span()) if number else Span(source.source)
        diagnostic = Diagnostic("invalid-toml", "an integer has too many digits", span=span)
    raise ConfigError([diagnostic])


def _explain(source: SourceText, error: str) -> Diagnostic:
    place = _PLACE.search(error)
    at = len(source.text.rstrip())
    if place and place[1]:
        at = source.offset(int(place[1]), int(place[2]))
    broken = _Broken(source.text, at, _PLACE.sub("", error))
    if _TWICE.match(broken.said):
        return _twice(broken, source)
    explain = next((f for said, f in _EXPLANATIONS.items() if broken.said.startswith(said)), _unknown)
    message, remedy, start, end = explain(broken)
    span = source.span(start, min(end, len(source.text)))
    return Diagnostic("invalid-toml", message, help=remedy, span=span)


def _twice(broken: _Broken, source: SourceText) -> Diagnostic:
    """Explain a key or table that is set again, or added to where that is not allowed."""
    try:
        path, place = TomlIndex(SourceText(broken.text[: broken.at], source.source)).last_key
        statement = broken.text.rfind("\n", 0, place[0]) + 1
        before = TomlIndex(SourceText(broken.text[:statement], source.source))
    except (AssertionError, IndexError):  # inside an inline table, which has no end yet
        name = broken.said.partition("'")[2].rstrip("'") or "a key"
        start = max(broken.text.rfind(name, 0, broken.at), 0)
        span = source.span(start, start + len(name))
        return Diagnostic(
            "invalid-toml", f"`{name}` is set twice in one table", help="keep one of the two", span=span
        )
    earlier = next((end for end in range(len(path), 0, -1) if before.key(path[:end])), len(path))
    name = format_key(path[:earlier])
    message, remedy = f"`{name}` is set twice", "keep one of the two"
    if earlier < len(path):
        message, remedy = f"`{name}` is complete: nothing can be added to it", "write it all in one place"
    note = Note("it is set first here", path[:earlier], before.key(path[:earlier]))
    return Diagnostic("invalid-toml", message, help=remedy, notes=(note,), span=source.span(*place))


def _unknown(broken: _Broken) -> _Said:
    return broken.said, None, broken.at, broken.at + 1


def _no_value(broken: _Broken) -> _Said:
    token = broken.token
    end = broken.at + max(len(token), 1)
    message = f"`{token}` is not a value that TOML knows"
    if not token:
        message, remedy = "a value is missing", "write one, or leave the key out"
    elif ord(token[0]) < ord(" "):
        return _bad_character(broken)
    elif token in OTHER_WORDS:
        remedy = f"write {OTHER_WORDS[token]}"
    elif token in NOTHING:
        inside = broken.text[: broken.at].rstrip()[-1:] in ("[", ",")
        remedy = f"TOML has no such value: leave the {'entry' if inside else 'key'} out"
    elif token[0] in "“”„‘’«»＂":
        remedy = "use straight quotes: \" or '"
    elif token[0] == "(":
        remedy = "an array is written [1, 2]"
    elif token[0] == "=":
        message, remedy = "there is a second `=`", "write key = value"
    elif _NUMBER.match(token):
        remedy = "a number is written like 3, 0.5 or 1e-4"
    elif '"' in token or "'" in token:
        remedy = "a string is written in one pair of quotes, and nothing beside them"
    elif "\\" in token:
        remedy = f"a string needs quotes, single ones where it has a backslash: '{token}'"
    else:
        remedy = f'a string needs quotes: "{token}"'
    return message, remedy, broken.at, end


def _more_on_the_line(broken: _Broken) -> _Said:
    if broken.token and ord(broken.token[0]) < ord(" "):
        return _bad_character(broken)
    before = re.search(r"[^\s=\[{,]+$", broken.line)
    if before and before.group()[-1] in "\"'" and broken.token:
        message = "the string ends before the end of the line"
        remedy = "a string with ' in it goes in double quotes, one with \" in single quotes"
        return message, remedy, broken.at, broken.at + max(len(broken.token), 1)
    if before and broken.token:
        start = broken.at - len(before.group())
        number = before.group() + broken.token
        remedy = "a number is written like 3, 0.5 or 1e-4, a date like 2026-01-31, a string in quotes"
        return f"`{number}` is not a value that TOML knows", remedy, start, start + len(number)
    rest = broken.text[broken.at :].partition("\n")[0].rstrip()
    remedy = "write each key = value on a line of its own, without a comma between them"
    return "the line goes on after its value", remedy, broken.at, broken.at + max(len(rest), 1)


def _no_equals(broken: _Broken) -> _Said:
    start = broken.at - len(broken.line.lstrip())
    if broken.text[broken.at : broken.at + 1] == ":":
        inside = re.search(r"[{,]\s*(\"[^\"]*\"|'[^']*'|[\w-]+)\s*$", broken.line)
        remedy = f"write {{ {inside[1]} = ... }}" if inside else None
        return "a key and its value are joined by `=`, not by `:`", remedy, broken.at, broken.at + 1
    return "a key is not followed by `=`", "write key = value", start, max(broken.at, start + 1)


def _no_key(broken: _Broken) -> _Said:
    message, remedy = "a key is expected here", "a key has letters, digits, _ and -; another one needs quotes"
    character = broken.text[broken.at : broken.at + 1]
    if character == "}":
        message, remedy = "a comma stands after the last key of an inline table", "leave it out"
    elif character == "]":
        message, remedy = "a table header has no name", "write it like [early_stopping]"
    elif character in ("\n", "\r", "#") and broken.line.rstrip().endswith(("{", ",")):
        start = _opening_brace(broken)
        remedy = "join its lines, or write a [table] or [[train_transform]] header with its keys below"
        return "an inline table goes on one line", remedy, start, start + 1
    return message, remedy, broken.at, broken.at + max(len(broken.token), 1)


def _opening_brace(broken: _Broken) -> int:
    """Find the brace of the inline table that a place is in."""
    depth = 1
    for brace in reversed(list(re.finditer("[{}]", broken.text[: broken.at]))):
        depth += 1 if brace.group() == "}" else -1
        if depth == 0:
            return brace.start()
    return broken.at


def _unclosed_array(broken: _Broken) -> _Said:
    remedy = "put a comma between its entries and `]` behind the last one"
    # Where the parser stopped is often the next key: what lacks is before it.
    before = len(broken.text[: broken.at].rstrip())
    start = before if "\n" in broken.text[before : broken.at] else broken.at
    return "an array is not closed, or a comma is missing in it", remedy, start, start + 1


def _unclosed_table(broken: _Broken) -> _Said:
    remedy = "put commas between its keys and `}` behind the last one, all on one line"
    return "an inline table is not closed, or a comma is missing in it", remedy, broken.at, broken.at + 1


def _unclosed_header(broken: _Broken) -> _Said:
    remedy = "write it like [early_stopping], alone on its line"
    return "the header of a table is not closed", remedy, broken.at, broken.at + 1


def _unclosed_string(broken: _Broken) -> _Said:
    """Find where a string begins that lasts to the end of the text."""
    opened = (token.start("open") for token in _STRINGS.finditer(broken.text) if token["open"])
    start = next(opened, len(broken.text))
    if broken.text[start : start + 3] in ('"""', "'''"):
        return "a string is not closed", "close it with the quotes that it begins with", start, start + 3
    end = broken.text.find("\n", start)
    return "a string is not closed", _CLOSE, start, end if end >= 0 else len(broken.text)


def _bad_character(broken: _Broken) -> _Said:
    character = broken.text[broken.at : broken.at + 1]
    if character == "\n":
        start = broken.at - len(broken.line) + max(broken.line.rfind('"'), broken.line.rfind("'"))
        return "a string is not closed", _CLOSE, start, broken.at
    message = f"a control character (U+{ord(character or ' '):04X}) is not allowed here"
    return (
        message,
        f"remove it; inside a string in double quotes, write it as \\u{ord(character or ' '):04X}",
        broken.at,
        broken.at + 1,
    )


def _escape(broken: _Broken) -> _Said:
    start = broken.text.rfind("\\", 0, broken.at)
    remedy = "write a backslash twice, or put the text in single quotes, as in 'C:\\data' or 'layer1\\.0'"
    return "a backslash in double quotes begins an escape that TOML does not know", remedy, start, broken.at


def _date(broken: _Broken) -> _Said:
    message = f"`{broken.token}` is not a date or time that exists"
    return message, None, broken.at, broken.at + max(len(broken.token), 1)


def _unless_foreign(explain: Callable[[_Broken], _Said]) -> Callable[[_Broken], _Said]:
    """Look for what does not come from TOML before explaining it as TOML."""
    return lambda broken: explain_foreign(broken.text, broken.at) or explain(broken)


_TOML: dict[str, Callable[[_Broken], _Said]] = {
    "Invalid value": _no_value,
    "Expected newline or end of document": _more_on_the_line,
    "Expected '=' after a key": _no_equals,
    "Invalid statement": _no_key,
    "Invalid initial character": _no_key,
    "Unclosed array": _unclosed_array,
    "Unclosed inline table": _unclosed_table,
    "Expected ']": _unclosed_header,
    "Unterminated string": _unclosed_string,
    'Expected "': _unclosed_string,
    "Found invalid character": _bad_character,
    "Illegal character": _bad_character,
    "Unescaped": _escape,
    "Invalid hex value": _escape,
    "Escaped character": _escape,
    "Invalid date": _date,
}
"""By the beginning of what the parser says; what a newer parser may say is passed on as it is."""
_EXPLANATIONS = {said: _unless_foreign(explain) for said, explain in _TOML.items()}
