"""The few operations and functions that are computed where an old config uses them."""

from __future__ import annotations

import ast
import copy
import operator
import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from pochi_cli.migration.values import Call, Symbol, Value

FAILURES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What computing raises on unfit values."""

_SCALAR = str | int | float | None
_MOST_BITS = 1024
_MOST_ITEMS = 10_000
_SIMPLE_FORMAT = re.compile(r"0?\d{0,2}(\.\d{1,2})?[deEfgG%s]?")

_OPERATORS: Mapping[type[ast.operator | ast.cmpop], Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def compute(operation: ast.operator | ast.cmpop, left: Value, right: Value) -> Value:
    """Apply an operator, unless the result were too large.

    Raises:
        FAILURES: It does not fit the values.
    """
    match operation, left, right:
        case ast.Mod(), str(), _:
            raise TypeError("not simple")
        case ast.cmpop(), _, _ if not isinstance(left, _SCALAR) or not isinstance(right, _SCALAR):
            raise TypeError("not simple")
        case ast.Pow(), int(), int() if left.bit_length() * right > _MOST_BITS:
            raise ValueError("too large")
        case (ast.Mult(), (str() | list() | tuple()) as items, int(times)) | (
            ast.Mult(),
            int(times),
            (str() | list() | tuple()) as items,
        ) if len(items) * times > _MOST_ITEMS:
            raise ValueError("too long")
    result = _OPERATORS[type(operation)](left, right)
    if isinstance(result, complex) or (isinstance(result, int) and result.bit_length() > _MOST_BITS):
        raise ValueError("no real number, or too large")
    return bounded(result)


def render(value: Value, specification: str = "") -> str:
    """Format a value as an f-string does, where that is simple.

    Raises:
        FAILURES: It is not.
    """
    if not isinstance(value, _SCALAR | PurePosixPath) or not _SIMPLE_FORMAT.fullmatch(specification):
        raise TypeError("not simple")
    text: str = bounded(format(value, specification))
    return text


def bounded(value: Value) -> Value:
    """Pass a value on, unless it is so long that doubling it again and again may be meant to fill the memory.

    Raises:
        ValueError: It is.
    """
    text = str(value) if isinstance(value, PurePosixPath) else value
    if isinstance(text, str | list | tuple | range) and len(text) > _MOST_ITEMS:
        raise ValueError("too long")
    return value


def _range(*bounds: Value) -> Value:
    return tuple(bounded(range(*bounds)))


def _sequential(*steps: Value) -> Value:
    return list(steps)


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.tuple": tuple,
    "builtins.range": _range,
    "builtins.str": render,
    "builtins.len": len,
    "builtins.int": int,
    "builtins.float": float,
    "builtins.min": min,
    "builtins.max": max,
    "collections.OrderedDict": dict,
    "copy.copy": copy.copy,
    "os.path.join": posixpath.join,
    "pathlib.Path": PurePosixPath,
    "pathlib.PurePath": PurePosixPath,
    "torch.device": render,
    "torch.nn.ModuleList": list,
    "torch.nn.Sequential": _sequential,
}
"""What is computed, by dotted name; they raise one of `FAILURES` where they cannot."""

_METHODS = {
    (list, "append"),
    (list, "extend"),
    (list, "insert"),
    (list, "copy"),
    (dict, "update"),
    (dict, "setdefault"),
    (dict, "get"),
    (dict, "copy"),
    (PurePosixPath, "as_posix"),
    (PurePosixPath, "joinpath"),
}


def call_method(receiver: Value, name: str, arguments: list[Value], keywords: dict[str, Value]) -> Value:
    """Call a method of a list, dict or path; it may change the receiver.

    Raises:
        FAILURES: The method is none that is followed, or does not fit.
    """
    if (type(receiver), name) not in _METHODS:
        raise TypeError("no such method")
    if name == "extend" and len(receiver) + len(arguments[0]) > _MOST_ITEMS:
        raise ValueError("too long")
    return bounded(getattr(receiver, name)(*arguments, **keywords))


READING_METHODS = {"get", "keys", "values", "items", "copy", "index", "count", "format", "join"}
"""Methods that leave what they are called on as it is."""

_HARMLESS = {"builtins", "torch", "torchvision", "numpy", "math", "os", "sys", "pathlib", "copy", "json"}
_HARMFUL = ("builtins.setattr", "builtins.delattr", "builtins.exec", "builtins.eval", "numpy.random.shuffle")


def is_harmless(function: Value) -> bool:
    """Tell whether a function, though its result be unknown, leaves its arguments as they are."""
    if isinstance(function, Symbol):
        return function.path.partition(".")[0] in _HARMLESS and function.path not in _HARMFUL
    return isinstance(function, Call)
