"""The few operations that an old config's values are computed with."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from pochi_cli.migration.values import Array, Scalar, Table, Value, seen

_MOST_BITS = 1024
MOST_ITEMS = 10_000

# What these raise on unfit values.
FAILURES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)

_NUMERIC: Mapping[type[ast.operator], Callable[[int | float, int | float], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_SIMPLE_FORMAT = re.compile(r"0?\d{0,2}(\.\d{1,2})?[deEfgG%s]?")


def compute(operation: ast.operator, left: Value, right: Value) -> Value:
    """Apply an operator.

    Raises:
        TypeError, ValueError, ArithmeticError: It does not fit the values, or the result is too large.
    """
    if isinstance(left, int | float) and isinstance(right, int | float):
        return _number(operation, left, right)
    if isinstance(operation, ast.Add):
        if isinstance(left, str) and isinstance(right, str):
            return bounded(left + right)
        if isinstance(left, Array) and isinstance(right, Array):
            return bounded(Array([*left, *right]))
        if isinstance(left, tuple) and isinstance(right, tuple):
            return bounded((*left, *right))
    if isinstance(operation, ast.Mod) and isinstance(left, str):
        return _filled(left, right if isinstance(right, tuple) else (right,))
    if isinstance(operation, ast.Mult) and isinstance(left, Array | tuple) and isinstance(right, int):
        if len(left) * right > MOST_ITEMS:
            raise ValueError("too many items")
        return Array(list(left) * right) if isinstance(left, Array) else left * right
    if isinstance(operation, ast.Div) and isinstance(left, PurePosixPath) and isinstance(right, str):
        return left / right
    if isinstance(operation, ast.BitOr) and isinstance(left, Table) and isinstance(right, Table):
        return Table({**left, **right})
    raise TypeError("no such operation")


def _filled(template: str, values: tuple[Value, ...]) -> str:
    if len(re.findall("%[sd]", template)) != template.count("%"):
        raise ValueError("not simple")
    return template % tuple(
        value if isinstance(value, int | float) else render(value, "") for value in values
    )


def _number(operation: ast.operator, left: int | float, right: int | float) -> int | float:
    is_power = isinstance(operation, ast.Pow) and isinstance(left, int) and isinstance(right, int)
    if is_power and right > 0 and int(left).bit_length() * right > _MOST_BITS:
        raise ValueError("too large")
    if type(operation) not in _NUMERIC:
        raise TypeError("no such operation")
    result = _NUMERIC[type(operation)](left, right)
    if not isinstance(result, int | float):  # a power of a negative number may be complex
        raise TypeError("no real number")
    if isinstance(result, int) and result.bit_length() > _MOST_BITS:
        raise ValueError("too large")
    return result


def bounded(value: str | Array | tuple[Value, ...]) -> str | Array | tuple[Value, ...]:
    """Pass a value on.

    Raises:
        ValueError: It is too long.
    """
    if len(value) > MOST_ITEMS:
        raise ValueError("too long")
    return value


def render(value: Value, specification: str) -> str:
    """Format a value as an f-string does, where that is simple.

    Raises:
        TypeError, ValueError: It is not.
    """
    if not isinstance(value, str | int | float | PurePosixPath) or not _SIMPLE_FORMAT.fullmatch(
        specification
    ):
        raise TypeError("not simple")
    return format(value, specification)


def truth(value: Value) -> bool:
    """Tell whether a condition holds.

    Raises:
        TypeError: That is not known.
    """
    value = seen(value)
    if value is None or isinstance(value, str | int | float | Array | Table | tuple):
        return bool(value)
    raise TypeError("no truth value")


_ORDERS: Mapping[type[ast.cmpop], Callable[[Any, Any], object]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def compare(operation: ast.cmpop, left: Value, right: Value) -> bool:
    """Apply a comparison.

    Raises:
        TypeError: It does not fit the values, or they are not simple.
    """
    if isinstance(operation, ast.In | ast.NotIn):
        within = seen(right)
        if isinstance(within, str) and isinstance(left, str):
            is_in = left in within
        else:
            items = list(within) if isinstance(within, Table) else items_of(within)
            is_in = simple_key(left) in [simple_key(item) for item in items]
        return is_in == isinstance(operation, ast.In)
    left, right = simple_key(left), simple_key(right)
    if isinstance(operation, ast.Is | ast.IsNot):
        if left is not None and right is not None and not isinstance(left, bool):
            raise TypeError("only Python tells which objects are the same")
        return (left is right) == isinstance(operation, ast.Is)
    return bool(_ORDERS[type(operation)](left, right))


def items_of(value: Value) -> list[Value]:
    """List what a sequence holds.

    Raises:
        TypeError: It is none, or its contents are unknown.
    """
    value = seen(value)
    if isinstance(value, Array | tuple):
        return list(value)
    raise TypeError("no list")


def pairs_of(value: Value) -> dict[Scalar, Value]:
    """List what a table holds, also one given as pairs.

    Raises:
        TypeError: It is none, or its contents are unknown.
    """
    value = seen(value)
    if isinstance(value, Table):
        return dict(value)
    pairs = [items_of(pair) for pair in items_of(value)]
    return {simple_key(key): item for key, item in pairs}


def simple_key(key: Value) -> Scalar:
    """Pass a table's key on.

    Raises:
        TypeError: It is none that is followed.
    """
    if key is None or isinstance(key, str | int | float):
        return key
    raise TypeError("no simple key")


def look_inside(container: Value, key: Value) -> Value:
    """Index a list, tuple or table.

    Raises:
        TypeError, LookupError: The container has no such item.
    """
    container = seen(container)
    if isinstance(container, Table):
        return container[simple_key(key)]
    if isinstance(container, Array | tuple) and isinstance(key, int):
        return container[key]
    raise TypeError("no container")
