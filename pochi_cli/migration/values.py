"""What an old config's expressions stand for, as far as reading tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeAlias

Place: TypeAlias = ast.expr | ast.stmt

Value: TypeAlias = Any
"""Python's own `None`, truth values, numbers, strings, lists, tuples, dicts and paths, or one of the below.

A list or dict that has several names in the old file is one object here, too: what changes under one name
changes under all.
"""


@dataclass(frozen=True, eq=False)
class Unknown:
    """A value that only running the file would tell.

    Attributes:
        place: What could not be read.
        origin: What made it so, if that is elsewhere in the file.
    """

    place: Place
    origin: Place | None = None


@dataclass(frozen=True)
class Symbol:
    """Something imported or built in, by its dotted name, such as `torchvision.transforms.ToTensor`."""

    path: str


@dataclass(frozen=True, eq=False)
class Call:
    """A transform as it was called."""

    name: str
    arguments: tuple[Value, ...]
    keywords: dict[str, Value]
    node: ast.expr


def containers(value: Value, leave_out: Collection[int] = ()) -> Iterator[Value]:
    """List the lists and dicts within a value, itself included.

    Args:
        value: The value.
        leave_out: Identities of lists and dicts to pass over with all that they hold.
    """
    open_ends = [value]
    visited: set[int] = set()
    while open_ends:
        value = open_ends.pop()
        is_container = isinstance(value, list | dict | tuple | Call)
        if not is_container or id(value) in visited or id(value) in leave_out:
            continue
        visited.add(id(value))
        if isinstance(value, list | dict):
            yield value
        if isinstance(value, Call):
            open_ends.extend((*value.arguments, *value.keywords.values()))
        else:
            open_ends.extend(value.values() if isinstance(value, dict) else value)


_LARGEST_INT = 2**1024
_DEEPEST = 25
_MOST = 20_000


@dataclass
class Plain:
    """A value in TOML's types: `None`s and unknown values are left out of tables.

    Attributes:
        value: The value, or what is unknown about it.
        lost: Key path and cause of each unknown value that was left out.
        absent: Key path of each `None` that was left out.
    """

    value: object = None
    lost: list[tuple[tuple[str, ...], Unknown]] = field(default_factory=list)
    absent: list[tuple[str, ...]] = field(default_factory=list)


def plain(value: Value, node: Place) -> Plain:
    """Write a value in TOML's types.

    Args:
        value: The value.
        node: What is to blame where TOML has no such value.
    """
    return _Plainer(node).run(value)


class _Plainer:
    def __init__(self, node: Place) -> None:
        self._no_toml = Unknown(node)
        self._left = _MOST
        self._result = Plain()

    def run(self, value: Value) -> Plain:
        self._result.value = self._convert(value, ())
        return self._result

    def _convert(self, value: Value, path: tuple[str, ...], depth: int = 0) -> object:
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:  # a list may hold itself
            return self._no_toml
        if isinstance(value, PurePosixPath):
            value = str(value)
        if isinstance(value, str):
            return self._no_toml if re.search(r"[\ud800-\udfff]", value) else value
        if isinstance(value, int):
            return value if abs(value) < _LARGEST_INT else self._no_toml
        if isinstance(value, float | Unknown) or value is None:
            return value
        if isinstance(value, list | tuple):
            items = [self._convert(item, path, depth + 1) for item in value]
            missing = [item for item in items if item is None or isinstance(item, Unknown)]
            return items if not missing else missing[0] or self._no_toml
        if isinstance(value, dict):
            return self._table(value, path, depth)
        return self._no_toml

    def _table(self, table: dict[Value, Value], path: tuple[str, ...], depth: int) -> object:
        converted: dict[str, object] = {}
        for key, item in table.items():
            if not isinstance(key, str) or re.search(r"[\ud800-\udfff]", key):
                return self._no_toml
            found = self._convert(item, (*path, key), depth + 1)
            if isinstance(found, Unknown):
                self._result.lost.append(((*path, key), found))
            elif found is None:
                self._result.absent.append((*path, key))
            else:
                converted[key] = found
        return converted
