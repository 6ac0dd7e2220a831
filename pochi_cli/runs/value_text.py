"""Values of records and configs in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

_MOST_NAMES = 8


def value_text(value: Any) -> str:
    """Write a value in full, nearly as TOML does; texts without quotes, `None` as not given."""
    match value:
        case None:
            return "not given"
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            texts = ", ".join(map(value_text, value))
            return texts if value and all(isinstance(item, str) for item in value) else f"[{texts}]"
        case Mapping():
            return f"{{ {', '.join(f'{key} = {value_text(item)}' for key, item in value.items())} }}"
        case _:
            return json.dumps(value)


def names_text(names: Iterable[str]) -> str:
    """List names: of many the first, and how many more there are."""
    names = tuple(names)
    more = len(names) - _MOST_NAMES
    text = ", ".join(names[:_MOST_NAMES])
    return f"{text} and {more:,} more" if more > 0 else text
