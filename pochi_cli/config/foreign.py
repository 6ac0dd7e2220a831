"""What other formats and keyboards leave in a TOML file: JSON, YAML, Python, full-width characters."""

from __future__ import annotations

import re
import unicodedata

Said = tuple[str, str | None, int, int]
"""Message, help, start and end of what is wrong."""

MIGRATE = "this looks like Python; `pochi migrate` turns an old Python config into TOML"

_STATEMENT = re.compile(r"\s*(?:(?:import|from|def|class|if|for)\s|@\w|\"\"\"|''')")
_CALL = re.compile(r"[A-Za-z_][\w.]*\(")
_LOOP = re.compile(r"[^#\"'\n]*?\bfor\s[^#\"'\n]+\sin\s")
_COMMENT = re.compile(r"(//|;|/\*)[ \t](?![\w-]+[ \t]*=)")
_COMMENT_ALONE = re.compile(r"(//|;|/\*)")
_WIDE = re.compile(r"[\uFF01-\uFF5E\u3001\u3002\u3010\u3011]+")
_SPACES = {"\u3000": "a full-width space", "\u00a0": "a no-break space"}
_INVISIBLE = frozenset("\u200b\u200c\u200d\u2060\ufeff")
_PLAIN = str.maketrans({"：": "=", "、": ",", "。": ".", "【": "[", "】": "]"})
_WIDE_DIGITS = "０１２３４５６７８９"
_CLOSING_QUOTES = "”’“‘＂＇"
_COMMA_IN_NUMBER = re.compile(r"([+-]?[0-9_]+),([0-9]+)$")


def explain_foreign(text: str, at: int) -> Said | None:
    """Say what does not come from TOML at the place where the parser gave up.

    Args:
        text: The text.
        at: Offset of the place.

    Returns:
        `None` if nothing there is known to come from elsewhere.
    """
    return (
        _other_format(text, at)
        or _unusual_character(text, at)
        or _other_comment(text, at)
        or _python(text, at)
        or _decimal_comma(text, at)
    )


def _other_format(text: str, at: int) -> Said | None:
    remedy = "TOML writes key = value, each on a line of its own"
    before = text[:at].strip()
    if not before and text[at : at + 1] == "{":
        return "this looks like JSON", remedy, at, at + 1
    if before == "---":
        start = text.index(before)
        return "this looks like YAML", remedy, start, start + len(before)
    return None


def _unusual_character(text: str, at: int) -> Said | None:
    """Name a character that looks like one of TOML's, or like none."""
    character = text[at : at + 1]
    if run := _WIDE.match(text, at):
        wide = run.group()
        if wide[0] in _WIDE_DIGITS:  # the whole number, with what is plain in it
            wide = re.match(r"[^\s#\]}]*", text[at:])[0].rstrip(",")  # type: ignore[index]  # it matches anything
        if wide[0] in _CLOSING_QUOTES:
            return None
        plain = unicodedata.normalize("NFKC", wide.translate(_PLAIN))
        message = f"a full-width `{wide}` (U+{ord(wide):04X})" if len(wide) == 1 else f"full-width `{wide}`"
        return message, f"write `{plain}`", at, at + len(wide)
    if character in _SPACES:
        return f"{_SPACES[character]} (U+{ord(character):04X})", "write a plain space", at, at + 1
    if character and character in _INVISIBLE:
        return f"an invisible character (U+{ord(character):04X})", "remove it", at, at + 1
    before = len(text[:at].rstrip(" \t"))
    if character in ("", "\n") and before and text[before - 1] in _CLOSING_QUOTES:
        quote = text[before - 1]
        opening = _line_before(text, at).rfind('"')
        straight = '"' if opening > _line_before(text, at).rfind("'") else "'"
        message = f"`{quote}` (U+{ord(quote):04X}) does not close a string"
        return message, f"write {straight}", before - 1, before
    return None


def _other_comment(text: str, at: int) -> Said | None:
    alone = not _line_before(text, at).strip()
    if mark := (_COMMENT_ALONE if alone else _COMMENT).match(text, at):
        return f"a comment does not begin with `{mark[1]}`", "write #", at, at + len(mark[1])
    if text[at : at + 1] == ";":
        return "`;` is not needed after a value", "leave it out: each key has a line of its own", at, at + 1
    return None


def _python(text: str, at: int) -> Said | None:
    before = _line_before(text, at)
    start = at - len(before.lstrip())
    line = before + text[at:].partition("\n")[0]
    if _STATEMENT.match(line) and "=" not in before:
        return "a key is not followed by `=`", MIGRATE, start, max(at, start + 1)
    if _LOOP.match(text, at) and "[" in before:
        return "TOML has no loops", "write the entries of the array out", at, at + 1
    if (call := _CALL.match(text, at)) and before.rstrip().endswith(("=", "[", ",")):
        name = call.group()
        remedy = {"dict(": "write { a = 1 }", "list(": "write [1, 2]", "tuple(": "write [1, 2]"}.get(
            name, MIGRATE
        )
        return f"`{name}...)` is not a value that TOML knows", remedy, at, call.end()
    return None


def _decimal_comma(text: str, at: int) -> Said | None:
    """Find a number with a comma: `x = 0,001`, where the parser stops at it, or in a table behind it."""
    before = _line_before(text, at)
    digits = re.match(r",?[0-9]*", text[at:])
    statement = before + (digits.group() if digits else "")
    value = re.search(r"=[ \t]*([^=\s]+)[ \t]*$", statement)
    number = _COMMA_IN_NUMBER.match(value[1]) if value else None
    if not value or not number:
        return None
    start = at - len(before) + value.start(1)
    remedy = f"write {number[1]}.{number[2]}"
    if len(number[2]) == 3 and number[1].strip("+-0_"):  # it may also stand between thousands
        remedy += f" or {number[1]}{number[2]}"
    return f"`{value[1]}` has a comma in it", remedy, start, start + len(value[1])


def _line_before(text: str, at: int) -> str:
    return text[text.rfind("\n", 0, at) + 1 : at]
