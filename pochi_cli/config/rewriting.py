"""A value of the wrong type: what it is, and how it was probably meant."""

from __future__ import annotations

import re
from typing import Any

from pochi_cli.config.values import show
from pochi_cli.errors import KeyPath

_TOML_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?")
_OPEN_ARRAYS = frozenset({"freeze", "milestones"})
"""Arrays that may have one entry."""


def rewritten(path: KeyPath, value: Any, expected: str) -> str | None:
    """Write a value of the wrong type as the user probably meant it, if that can be told."""
    if isinstance(value, str):
        word = value.strip().lower()
        if isinstance(path[-1], int) and expected == "a table":
            return f"{{ name = {show(value)} }}"
        if "true or false" in expected and word in ("true", "false"):
            return word
        if "number" in expected and (number := number_in(word, float if "a number" in expected else int)):
            return f"{number} without quotes"
    if isinstance(value, float) and "a whole number" in expected and value.is_integer():
        return str(int(value))
    if isinstance(value, int) and expected == "true or false" and value in (0, 1):
        return "true" if value else "false"
    if expected == "a table" and path == ("early_stopping",) and isinstance(value, bool):
        return f"{{ enabled = {show(value)} }}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if expected == "an array [...]" and path[-1] in ("mean", "std") and is_number:
        return f"[{show(value)}, {show(value)}, {show(value)}]"
    if expected == "an array [...]" and path[-1] in _OPEN_ARRAYS:
        return f"[{show(value)}]"
    if expected == "a string in quotes" and is_number:
        return f'"{show(value)}"'
    return None


def number_in(word: str, kind: type[int] | type[float]) -> str | None:
    """Write a word as TOML writes that number, if it is one."""
    try:
        value = kind(word)
    except ValueError:
        return None
    if not word.isascii():  # full-width digits are digits, but not TOML's
        return None
    return word if _TOML_NUMBER.fullmatch(word) else str(value)


def described(value: Any) -> str:
    """Write a value, and of which type it is where that is not plain."""
    return show(value) if isinstance(value, bool) else f"{show(value)} ({_type_of(value)})"


def _type_of(value: Any) -> str:
    for kind, name in (
        (str, "a string"),
        (int, "a whole number"),
        (float, "a number"),
        (list, "an array"),
        (dict, "a table"),
    ):
        if isinstance(value, kind):
            return name
    return "a date or time"
