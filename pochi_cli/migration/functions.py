"""The few functions and methods that are computed where an old config calls them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from string import Formatter

from pochi_cli.migration.operations import (
    MOST_ITEMS,
    bounded,
    items_of,
    pairs_of,
    render,
    simple_key,
)
from pochi_cli.migration.values import Array, Call, Scalar, Symbol, Table, Value, seen

_MOST_COPIES = 1000


def _dict(*values: Value, **keywords: Value) -> Value:
    merged = Table()
    for value in values:
        merged.update(pairs_of(value))
    merged.update(keywords)
    return merged


def _list(value: Value = ()) -> Value:
    return Array(items_of(value))


def _tuple(value: Value = ()) -> Value:
    return tuple(items_of(value))


def _range(*bounds: Value) -> Value:
    numbers = range(*[bound for bound in bounds if isinstance(bound, int)])
    if len(numbers) > MOST_ITEMS:
        raise ValueError("too long")
    return tuple(numbers)


def _scalar_function(function: Callable[..., object]) -> Callable[..., Value]:
    def apply(*values: Value) -> Value:
        if not all(isinstance(value, str | int | float) for value in values):
            raise TypeError("no scalars")
        result = function(*values)
        if isinstance(result, str | int | float):
            return result
        raise TypeError("no scalar")

    return apply


def _str(value: Value = "") -> Value:
    return render(value, "")


def _len(value: Value) -> Value:
    return len(value) if isinstance(value, str) else len(items_of(value))


def _format(template: Value, *values: Value, **keywords: Value) -> Value:
    text = ""
    in_order = iter(values)
    for literal, name, form, conversion in Formatter().parse(str(template)):
        text += literal
        if name is None:
            continue
        if conversion:
            raise ValueError("not simple")
        if not name:
            name, keywords = "", {**keywords, "": next(in_order, None)}  # which is not rendered
        text += render(keywords[name] if name in keywords else values[int(name)], form or "")
    return text


def _join(*parts: Value) -> Value:
    _path(*parts)  # checks their types
    return posixpath.join(*map(str, parts))


def _path(*parts: Value) -> Value:
    if not all(isinstance(part, str | PurePosixPath) for part in parts):
        raise TypeError("no paths")
    return PurePosixPath(*[part for part in parts if isinstance(part, str | PurePosixPath)])


def _same(value: Value) -> Value:
    return value


def _copy(value: Value) -> Value:
    value = seen(value)
    if isinstance(value, Array):
        return Array(value)
    return Table(value) if isinstance(value, Table) else value


def _deep_copy(value: Value) -> Value:
    return _copied(value, {})


def _copied(value: Value, copies: dict[int, Array | Table]) -> Value:
    value = seen(value)
    if id(value) in copies:  # it may hold itself
        return copies[id(value)]
    if len(copies) > _MOST_COPIES:
        raise ValueError("too many copies")
    if isinstance(value, Array):
        copies[id(value)] = array = Array()
        array.extend(_copied(item, copies) for item in value)
        return array
    if isinstance(value, Table):
        copies[id(value)] = table = Table()
        table.update({key: _copied(item, copies) for key, item in value.items()})
        return table
    return value


def _sequential(*steps: Value) -> Value:
    return Array(steps)


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "builtins.dict": _dict,
    "collections.OrderedDict": _dict,
    "builtins.list": _list,
    "builtins.tuple": _tuple,
    "builtins.range": _range,
    "builtins.str": _str,
    "builtins.len": _len,
    "builtins.int": _scalar_function(int),
    "builtins.float": _scalar_function(float),
    "builtins.round": _scalar_function(round),
    "builtins.min": _scalar_function(min),
    "builtins.max": _scalar_function(max),
    "os.path.join": _join,
    "os.fspath": _str,
    "pathlib.Path": _path,
    "pathlib.PurePath": _path,
    "pathlib.PosixPath": _path,
    "pathlib.PurePosixPath": _path,
    "copy.copy": _copy,
    "copy.deepcopy": _deep_copy,
    "torch.device": _str,
    "torch.nn.ModuleList": _list,
    "torch.nn.Sequential": _sequential,
}
"""What is computed, by dotted name; they raise one of `FAILURES` where they cannot."""


def _append(array: Array, value: Value) -> None:
    array.append(value)
    bounded(array)


def _extend(array: Array, values: Value) -> None:
    array.extend(bounded(Array(items_of(values))))
    bounded(array)


def _insert(array: Array, position: Value, value: Value) -> None:
    if not isinstance(position, int):
        raise TypeError("no position")
    array.insert(position, value)


def _update(table: Table, *values: Value, **keywords: Value) -> None:
    additions: dict[Scalar, Value] = {}
    for value in values:
        additions.update(pairs_of(value))
    table.update(additions)
    table.update(keywords)


def _get(table: Table, key: Value, default: Value = None) -> Value:
    return table.get(simple_key(key), default)


def _setdefault(table: Table, key: Value, default: Value = None) -> Value:
    return table.setdefault(simple_key(key), default)


def _values(table: Table) -> Value:
    return tuple(table.values())


def _pairs(table: Table) -> Value:
    return tuple(table.items())


METHODS: Mapping[tuple[type, str], Callable[..., Value]] = {
    (str, "format"): _format,
    (Array, "append"): _append,
    (Array, "extend"): _extend,
    (Array, "insert"): _insert,
    (Array, "copy"): _copy,
    (Table, "update"): _update,
    (Table, "setdefault"): _setdefault,
    (Table, "get"): _get,
    (Table, "copy"): _copy,
    (Table, "keys"): tuple,
    (Table, "values"): _values,
    (Table, "items"): _pairs,
    (PurePosixPath, "as_posix"): _str,
    (PurePosixPath, "joinpath"): _path,
}
"""Methods of values that are not spoilt; they raise one of `FAILURES` where they cannot."""

READING_METHODS = {"get", "keys", "values", "items", "copy", "index", "count", "format", "join"}
"""Methods that leave what they are called on as it is."""

_HARMLESS_ROOTS = (
    "torch",
    "torchvision",
    "numpy",
    "math",
    "os",
    "sys",
    "pathlib",
    "json",
    "logging",
    "warnings",
)
_HARMFUL = ("builtins.setattr", "builtins.delattr", "builtins.exec", "builtins.eval", "numpy.random.shuffle")


def is_harmless(function: Value) -> bool:
    """Tell whether a function, though its result be unknown, leaves its arguments as they are."""
    if isinstance(function, Call):
        return True
    if not isinstance(function, Symbol) or function.path in _HARMFUL:
        return False
    return function.path.partition(".")[0] in ("builtins", *_HARMLESS_ROOTS)
