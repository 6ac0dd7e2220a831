"""What an old config's expressions stand for, as far as reading tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | None
Place: TypeAlias = ast.expr | ast.stmt


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of the values that a name may have.

    Attributes:
        value: The value.
        statement: What binds the name to it.
        condition: When it does.
    """

    value: Value
    statement: ast.stmt
    condition: str


@dataclass(frozen=True, eq=False)
class Unknown:
    """A value that only running the file would tell.

    Attributes:
        cause: What could not be read.
        use: Where a list or dict takes the value up, if that is elsewhere.
        candidates: What it may be, as far as reading tells.
    """

    cause: Place
    use: ast.expr | None = None
    candidates: tuple[Candidate, ...] = ()


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


class Array(list["Value"]):
    """A list; like Python's, it may have several names, and changes under all of them."""

    spoilt: Unknown | None = None


class Table(dict[Scalar, "Value"]):
    """A dict; like Python's, it may have several names, and changes under all of them."""

    spoilt: Unknown | None = None


Value: TypeAlias = "Scalar | PurePosixPath | tuple[Value, ...] | Array | Table | Symbol | Call | Unknown"


def seen(value: Value) -> Value:
    """Look at a value: a list or dict that something unread may have changed is unknown."""
    return value.spoilt if isinstance(value, Array | Table) and value.spoilt else value


def spoil(value: Value, cause: Unknown) -> None:
    """Forget the contents of every list and dict within a value: something unread may have changed them."""
    open_ends: list[Value] = [value]
    visited: set[int] = set()
    while open_ends:
        value = open_ends.pop()
        if id(value) in visited or (isinstance(value, Array | Table) and value.spoilt):
            continue
        visited.add(id(value))
        if isinstance(value, Array | Table):
            value.spoilt = cause
        open_ends.extend(_inside(value))


def _inside(value: Value) -> Iterator[Value]:
    if isinstance(value, Table):
        yield from value.values()
    elif isinstance(value, Array | tuple):
        yield from value
    elif isinstance(value, Call):
        yield from value.arguments
        yield from value.keywords.values()


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
        value = seen(value)
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
        if isinstance(value, Array | tuple):
            items = [self._convert(item, path, depth + 1) for item in value]
            missing = [item for item in items if item is None or isinstance(item, Unknown)]
            return items if not missing else missing[0] or self._no_toml
        if isinstance(value, Table):
            return self._table(value, path, depth)
        return self._no_toml

    def _table(self, table: Table, path: tuple[str, ...], depth: int) -> object:
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
