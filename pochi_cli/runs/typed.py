"""Values of a JSON file, held against the types that a record gives its fields."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol, TypeVar

Status = Literal["running", "finished", "interrupted", "failed"]
Moment = str
"""A time as ISO 8601 with its time zone."""
Stamp = str
"""A time as `YYYYMMDD_HHMMSS`. It becomes part of file names: anything else could lead out of the run."""
Seconds = float
"""A finite number that is not negative."""

_LONGEST_SHOWN = 60


class _Record(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


T = TypeVar("T", bound=_Record)


def read_fields(kind: type[T], content: Any) -> T:
    """Make a record of a JSON object, field by field; what a newer version added is left out.

    Args:
        kind: A dataclass whose module has postponed annotations.
        content: The object.

    Raises:
        ValueError: A field is missing or of another type; the message names it and its value.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it is no object but {shown(content)}")
    values = {}
    for item in fields(kind):
        if item.name not in content:
            if item.default is MISSING:
                raise ValueError(f"it has no {item.name}")
            continue
        name, _, none = str(item.type).partition(" | ")
        value = content[item.name]
        expected, read = _READERS[name]
        try:
            values[item.name] = None if none and value is None else read(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{item.name} is {shown(value)}, not {expected}") from error
    return kind(**values)


def shown(value: Any) -> str:
    """Write a value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def read_number(value: Any) -> float:
    """Read a number as `write_json` writes it: what is not finite is a string.

    Raises:
        TypeError, ValueError, OverflowError: It is none.
    """
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{shown(value)} is not a number")
    return float(value)


def read_count(value: Any) -> int:
    """Read a whole number from 0.

    Raises:
        TypeError, ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{shown(value)} is not a whole number")
    if value < 0:
        raise ValueError(f"{value} is negative")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _seconds(value: Any) -> float:
    number = read_number(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError
    return number


def _status(value: Any) -> Any:
    if value not in ("running", "finished", "interrupted", "failed"):
        raise ValueError
    return value


def _moment(value: Any) -> str:
    if datetime.fromisoformat(_text(value)).tzinfo is None:
        raise ValueError
    return _text(value)


def _stamp(value: Any) -> str:
    if not re.fullmatch(r"[0-9]{8}_[0-9]{6}", _text(value)):
        raise ValueError
    return _text(value)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(_text, value))


def _counts(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(read_count, value))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


_READERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "str": ("a text", _text),
    "int": ("a whole number from 0", read_count),
    "float": ("a number", read_number),
    "Seconds": ("a number of seconds", _seconds),
    "Status": ("running, finished, interrupted or failed", _status),
    "Moment": ("a time as ISO 8601 with its zone", _moment),
    "Stamp": ("a time as YYYYMMDD_HHMMSS", _stamp),
    "bool": ("true or false", _flag),
    "tuple[str, ...]": ("a list of texts", _texts),
    "tuple[int, ...]": ("a list of whole numbers from 0", _counts),
    "Mapping[str, Any]": ("an object", _mapping),
}
"""What a field of a type must be, in words, and what reads it."""
