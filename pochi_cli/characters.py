"""Text from files, written so that a terminal shows it and obeys nothing in it. Every room may import it."""

from __future__ import annotations

import os
import re
from pathlib import Path

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What moves the cursor, ends a line or begins an escape sequence."""
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""The same, marks that turn the direction of writing, and what is no Unicode."""
_SURROGATE = re.compile(r"[\ud800-\udfff]")

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    """Write control characters, line ends and marks that turn the direction of writing as escapes."""
    return _HIDDEN.sub(_escape, text)


def visible_lines(text: str) -> str:
    """Do as `visible`, but leave line ends and tabs, which the text's own author may have meant."""
    return _HIDDEN.sub(lambda match: match[0] if match[0] in "\n\t" else _escape(match), text)


def veiled(text: str) -> str:
    """Write each of them as �, which takes one column."""
    return _HIDDEN.sub("�", text)


def printable(path: str | Path) -> str:
    """Write a path so that it can be printed: bytes that are not UTF-8 as �, control characters escaped."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), unicode_text(path))


def unicode_text(path: str | Path) -> str:
    """Write a path as Unicode text: bytes that are not UTF-8 as �."""
    return os.fsencode(path).decode("utf-8", "replace")


def without_surrogates(text: str) -> str:
    """Write what is no Unicode, such as a byte of a file name that is not UTF-8, as �."""
    return _SURROGATE.sub("�", text)


def _escape(match: re.Match[str]) -> str:
    return _SHORT.get(match[0], f"\\u{ord(match[0]):04x}")
