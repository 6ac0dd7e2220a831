"""Values as TOML writes them on one line, in full."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

_ESCAPES: Mapping[str, str] = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}
_MUST_ESCAPE = re.compile(r'["\\\x00-\x1f\x7f]')
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


def inline(value: object) -> str:
    """Write a value.

    Args:
        value: A string without lone surrogates, a number, a truth value, or lists, tuples and tables of them.

    Raises:
        TypeError: TOML has no such value.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{key_part(key)} = {inline(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def quoted(text: str) -> str:
    """Write a string in double quotes."""
    escaped = _MUST_ESCAPE.sub(lambda found: _ESCAPES.get(found[0], f"\\u{ord(found[0]):04X}"), text)
    return f'"{escaped}"'


def key_part(name: str) -> str:
    """Write one part of a key: bare where that is allowed."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)


def comment(text: str) -> str:
    """Write a comment; what TOML forbids in one becomes a space."""
    return f"# {_FORBIDDEN.sub(' ', text).strip()}".rstrip()
