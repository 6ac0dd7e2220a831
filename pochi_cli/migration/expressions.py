"""The value of an expression, found by reading it."""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from pathlib import PurePosixPath

from pochi_cli.migration.functions import (
    FAILURES,
    FUNCTIONS,
    READING_METHODS,
    bounded,
    call_method,
    compute,
    is_harmless,
    render,
)
from pochi_cli.migration.values import Call, Place, Symbol, Unknown, Value

TRANSFORMS = "torchvision.transforms"


class NotKnownError(Exception):
    """Reading does not tell a value.

    Attributes:
        origin: What made it so, if that is elsewhere in the file.
    """

    def __init__(self, origin: Place | None = None) -> None:
        self.origin = origin


NOT_UNDERSTOOD = (NotKnownError, *FAILURES)


@dataclass
class Binding:
    """A name of the file.

    Attributes:
        name: The name.
        value: What it stands for.
        statement: What binds it.
        doubt: The first later statement that may bind it anew, or change a list or dict in it.
        is_used: Whether another statement reads it.
    """

    name: str
    value: Value
    statement: ast.stmt
    doubt: ast.stmt | None = None
    is_used: bool = False


class Expressions:
    """Evaluates expressions over the names that are known.

    Attributes:
        names: The names that are bound so far.
        doubted: Lists and dicts, by identity, that a statement may have changed, with that statement.
        failed: The expressions that were not understood, the inner before the outer.
        has_all_transforms: Whether torchvision's transforms are there under their own names.
    """

    def __init__(self) -> None:
        self.names: dict[str, Binding] = {}
        self.doubted: dict[int, tuple[Value, ast.stmt]] = {}
        self.failed: list[ast.expr] = []
        self.has_all_transforms = False

    def evaluate(self, node: ast.expr) -> Value:
        """Find the value of an expression; `Unknown` where reading does not tell."""
        try:
            value = self._read(node)
        except NOT_UNDERSTOOD as error:
            self.failed.append(node)
            return Unknown(node, getattr(error, "origin", None))
        if isinstance(value, list | dict) and id(value) in self.doubted:
            return Unknown(node, self.doubted[id(value)][1])
        return value

    def known(self, node: ast.expr) -> Value:
        """Find the value of an expression.

        Raises:
            NotKnownError: Reading does not tell.
        """
        value = self.evaluate(node)
        if isinstance(value, Unknown):
            raise NotKnownError(value.origin)
        return value

    def holds(self, test: ast.expr) -> bool:
        """Tell whether a condition holds.

        Raises:
            NotKnownError: Reading does not tell.
        """
        value = self.known(test)
        if isinstance(value, Symbol | Call):
            raise NotKnownError
        return bool(value)

    def may_change_values(self, part: ast.AST) -> bool:
        """Tell whether a piece of code may change a list or dict."""
        if isinstance(part, ast.Call):
            is_read = isinstance(part.func, ast.Attribute) and part.func.attr in READING_METHODS
            return not is_read and not is_harmless(self._function(part.func))
        is_stored = isinstance(part, ast.Subscript | ast.Attribute) and not isinstance(part.ctx, ast.Load)
        return is_stored or isinstance(part, ast.AugAssign)

    def _function(self, node: ast.expr) -> Value:
        """Look up a function by its dotted name."""
        path = ""
        while isinstance(node, ast.Attribute):
            path, node = f".{node.attr}{path}", node.value
        try:
            base = self._look_up(node.id) if isinstance(node, ast.Name) else None
        except NotKnownError:
            return None
        return Symbol(base.path + path) if isinstance(base, Symbol) else None

    def _read(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=None | str() | int() | float() as value):
                return value
            case ast.Name(id=name):
                return self._look_up(name)
            case ast.List(elts=elements):
                return self._items(elements)
            case ast.Tuple(elts=elements):
                return tuple(self._items(elements))
            case ast.Dict(keys=keys, values=items):
                return self._table(keys, items)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.holds(operand)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                number = self.known(operand)
                return -number if isinstance(sign, ast.USub) else +number
            case ast.BinOp(left=left, op=operation, right=right):
                return compute(operation, self.known(left), self.known(right))
            case ast.Compare(left=left, ops=[comparison], comparators=[right]):
                return compute(comparison, self.known(left), self.known(right))
            case ast.IfExp(test=test, body=chosen, orelse=other):
                return self.known(chosen if self.holds(test) else other)
            case ast.JoinedStr(values=parts):
                return "".join(self.known(part) for part in parts)
            case ast.FormattedValue(value=inner, conversion=conversion, format_spec=form):
                if conversion not in (-1, ord("s")):
                    raise NotKnownError
                return render(self.known(inner), self.known(form) if form else "")
            case ast.Attribute(value=base, attr=name):
                return self._attribute(self.known(base), name)
            case ast.Subscript(value=base, slice=key):
                return _taken_up(self._container(base)[self.known(key)])
            case ast.Call():
                return self._call(node)
        raise NotKnownError

    def _look_up(self, name: str) -> Value:
        if name in self.names:
            binding = self.names[name]
            if binding.doubt:
                raise NotKnownError(binding.doubt)
            return _taken_up(binding.value)
        if name == "__name__":  # a config was imported, never run by itself
            return "config"
        if name == "transforms":  # the guide's examples leave the import out
            return Symbol(TRANSFORMS)
        if hasattr(builtins, name):
            return Symbol(f"builtins.{name}")
        if self.has_all_transforms:
            return Symbol(f"{TRANSFORMS}.{name}")
        raise NotKnownError

    def _items(self, elements: list[ast.expr]) -> list[Value]:
        items: list[Value] = []
        for element in elements:
            if isinstance(element, ast.Starred):
                items.extend(self.known(element.value))
                bounded(items)
            else:
                items.append(self.evaluate(element))
        return items

    def _table(self, keys: list[ast.expr | None], items: list[ast.expr]) -> dict[Value, Value]:
        table: dict[Value, Value] = {}
        for key, item in zip(keys, items, strict=True):
            if key is None:
                table.update(self.known(item))
            else:
                table[self.known(key)] = self.evaluate(item)
        return table

    def _container(self, node: ast.expr) -> Value:
        value = self.known(node)
        if not isinstance(value, list | tuple | dict):
            raise NotKnownError
        return value

    def _attribute(self, base: Value, name: str) -> Value:
        if isinstance(base, Symbol):
            return Symbol(f"{base.path}.{name}")
        if isinstance(base, Call) and base.name == "Compose" and name == "transforms":
            return next(iter((*base.arguments, *base.keywords.values())))
        raise NotKnownError

    def _call(self, node: ast.Call) -> Value:
        receiver = function = None
        if isinstance(node.func, ast.Attribute):
            receiver = self.known(node.func.value)
        if not isinstance(receiver, list | dict | PurePosixPath):
            function = self.known(node.func)
        arguments = self._items(node.args)
        keywords: dict[str, Value] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                keywords.update(self.known(keyword.value))
            else:
                keywords[keyword.arg] = self.evaluate(keyword.value)
        if isinstance(node.func, ast.Attribute) and function is None:
            return call_method(receiver, node.func.attr, arguments, keywords)
        if not isinstance(function, Symbol):
            raise NotKnownError
        name = function.path.rpartition(".")[2]
        if function.path.startswith(f"{TRANSFORMS}.") and name[:1].isupper():
            return Call(name, tuple(arguments), keywords, node)
        return bounded(FUNCTIONS[function.path](*arguments, **keywords))


def _taken_up(value: Value) -> Value:
    """Pass on a value that was found elsewhere in the file."""
    if isinstance(value, Unknown):
        raise NotKnownError(value.origin or value.place)
    return value
