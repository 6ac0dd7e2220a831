"""The value of an expression, found by reading it."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable

from pochi_cli.migration.functions import FUNCTIONS, METHODS, READING_METHODS, is_harmless
from pochi_cli.migration.operations import (
    FAILURES,
    compare,
    compute,
    items_of,
    look_inside,
    pairs_of,
    render,
    truth,
)
from pochi_cli.migration.values import Array, Call, Scalar, Symbol, Table, Unknown, Value, seen, spoil

TRANSFORMS = "torchvision.transforms"


class Expressions:
    """Evaluates expressions over the names that are known.

    Every part of an expression is looked at, also of one whose value stays unknown: a function that is not
    known may change the lists and dicts that it is given.

    Attributes:
        values: What each name stands for.
        touched: Names whose lists and dicts the file's functions may change when they are called.
        rebound: Names that they may bind anew.
        fresh: Names bound since such a function was last called.
        has_all_transforms: Whether torchvision's transforms are there under their own names.
    """

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.touched: set[str] = set()
        self.rebound: set[str] = set()
        self.fresh: set[str] = set()
        self.has_all_transforms = False

    def evaluate(self, node: ast.expr) -> Value:
        """Find the value of an expression; `Unknown` where reading does not tell."""
        match node:
            case ast.Constant(value=None | str() | int() | float() as value):
                return value
            case ast.Name(id=name):
                return self._look_up(name, node)
            case ast.List(elts=elements):
                items = self._items(elements)
                return Unknown(node) if items is None else Array(items)
            case ast.Tuple(elts=elements):
                items = self._items(elements)
                return Unknown(node) if items is None else tuple(items)
            case ast.Dict():
                return self._table(node)
            case ast.UnaryOp(op=operation, operand=operand):
                return self._signed(operation, self.evaluate(operand), node)
            case ast.BinOp(left=left, op=operation, right=right):
                return self._computed(operation, self.evaluate(left), self.evaluate(right), node)
            case ast.Compare():
                return self._compared(node)
            case ast.BoolOp(op=connective, values=[*parts]):
                return self._connected(connective, parts, node)
            case ast.JoinedStr(values=parts):
                return self._joined(parts, node)
            case ast.Attribute(value=base, attr=name):
                return self._attribute(self.evaluate(base), name, node)
            case ast.Subscript(value=base, slice=key):
                return self._item(self.evaluate(base), self.evaluate(key), node)
            case ast.Call():
                return self._call(node)
            case ast.IfExp(test=test, body=chosen, orelse=other):
                return self._chosen(self.evaluate(test), chosen, other, node)
            case ast.NamedExpr(target=target, value=inner):
                self.evaluate(inner)
                self.forget([target.id], Unknown(node))
                return Unknown(node)
            case _:
                self.disturb(node)
                return Unknown(node)

    def disturb(self, node: ast.expr | ast.stmt) -> None:
        """Forget what code that is not followed may change: lists, dicts, and names bound in passing."""
        parts = list(ast.walk(node))
        cause = Unknown(node)
        if any(self._may_change(part) for part in parts):
            # All names in it: within the code, another name may stand for the same list.
            for name in {part.id for part in parts if isinstance(part, ast.Name)} & self.values.keys():
                spoil(self.values[name], cause)
        if any(isinstance(part, ast.Call) for part in parts):
            for name in self.touched & self.fresh:
                spoil(self.values.get(name), cause)
            self.forget(self.rebound & self.fresh, cause)
            self.fresh.clear()
        self.forget({part.target.id for part in parts if isinstance(part, ast.NamedExpr)}, cause)

    def forget(self, names: Iterable[str], cause: Unknown) -> None:
        """Make names, and what they hold, unknown."""
        for name in names:
            spoil(self.values.get(name), cause)
            self.values[name] = cause

    def _may_change(self, part: ast.AST) -> bool:
        if isinstance(part, ast.Call):
            is_read = isinstance(part.func, ast.Attribute) and part.func.attr in READING_METHODS
            return not (is_read or is_harmless(self._named(part.func)))
        is_stored = isinstance(part, ast.Subscript | ast.Attribute) and not isinstance(part.ctx, ast.Load)
        return is_stored or isinstance(part, ast.AugAssign)

    def _named(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Attribute):
            base = self._named(node.value)
            return Symbol(f"{base.path}.{node.attr}") if isinstance(base, Symbol) else Unknown(node)
        return self._look_up(node.id, node) if isinstance(node, ast.Name) else Unknown(node)

    def _look_up(self, name: str, node: ast.expr) -> Value:
        if name in self.values:
            return self.values[name]
        if name == "transforms":  # the guide's examples leave the import out
            return Symbol(TRANSFORMS)
        if hasattr(builtins, name):
            return Symbol(f"builtins.{name}")
        return Symbol(f"{TRANSFORMS}.{name}") if self.has_all_transforms else Unknown(node)

    def _items(self, elements: list[ast.expr]) -> list[Value] | None:
        items: list[Value] = []
        is_known = True
        for element in elements:
            if isinstance(element, ast.Starred):
                try:
                    items.extend(items_of(self.evaluate(element.value)))
                except FAILURES:
                    is_known = False
            else:
                items.append(_widened(self.evaluate(element), element))
        return items if is_known else None

    def _table(self, node: ast.Dict) -> Value:
        table = Table()
        is_known = True
        for key_node, item_node in zip(node.keys, node.values, strict=True):
            key = None if key_node is None else self.evaluate(key_node)
            item = _widened(self.evaluate(item_node), item_node)
            try:
                additions = pairs_of(item) if key_node is None else pairs_of(((key, item),))
            except FAILURES:
                is_known = False
            else:
                table.update(additions)
        return table if is_known else Unknown(node)

    def _chosen(self, test: Value, chosen: ast.expr, other: ast.expr, node: ast.expr) -> Value:
        try:
            return self.evaluate(chosen if truth(test) else other)
        except FAILURES:
            self.disturb(node)
            return _unknown(node, test)

    def _compared(self, node: ast.Compare) -> Value:
        left = self.evaluate(node.left)
        for operation, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.evaluate(right_node)
            try:
                if not compare(operation, left, right):
                    return False
            except FAILURES:
                self.disturb(node)
                return _unknown(node, left, right)
            left = right
        return True

    def _connected(self, connective: ast.boolop, parts: list[ast.expr], node: ast.expr) -> Value:
        value: Value = None
        for part in parts:
            value = self.evaluate(part)
            try:
                if truth(value) == isinstance(connective, ast.Or):
                    return value
            except FAILURES:
                self.disturb(node)
                return _unknown(node, value)
        return value

    def _signed(self, operation: ast.unaryop, operand: Value, node: ast.expr) -> Value:
        match operation, operand:
            case ast.USub(), int() | float():
                return -operand
            case ast.UAdd(), int() | float():
                return +operand
            case ast.Not(), _:
                try:
                    return not truth(operand)
                except FAILURES:
                    pass
        return _unknown(node, operand)

    def _computed(self, operation: ast.operator, left: Value, right: Value, node: ast.expr) -> Value:
        try:
            return compute(operation, seen(left), seen(right))
        except FAILURES:
            return _unknown(node, left, right)

    def _joined(self, parts: list[ast.expr], node: ast.expr) -> Value:
        text = ""
        is_known = True
        for part in parts:
            specification: Value = ""
            value = self.evaluate(part.value if isinstance(part, ast.FormattedValue) else part)
            if isinstance(part, ast.FormattedValue) and part.format_spec is not None:
                specification = self.evaluate(part.format_spec)
            is_plain = not isinstance(part, ast.FormattedValue) or part.conversion in (-1, ord("s"))
            try:
                text += render(value, str(specification)) if is_plain else ""
                is_known &= is_plain
            except FAILURES:
                is_known = False
        # What an f-string holds has no trustworthy place of its own before Python 3.12.
        return text if is_known and len(text) < 10_000 else Unknown(node)

    def _attribute(self, base: Value, name: str, node: ast.expr) -> Value:
        if isinstance(base, Symbol):
            return Symbol(f"{base.path}.{name}")
        if isinstance(base, Call) and base.name == "Compose" and name == "transforms":
            return next(iter((*base.arguments, *base.keywords.values())), Unknown(node))
        return _unknown(node, base)

    def _item(self, base: Value, key: Value, node: ast.expr) -> Value:
        try:
            return look_inside(base, key)
        except FAILURES:
            return _unknown(node, base, key)

    def _call(self, node: ast.Call) -> Value:
        receiver: Value = None
        function: Value = None
        method = None
        if isinstance(node.func, ast.Attribute):
            receiver = self.evaluate(node.func.value)
            method = METHODS.get((type(receiver), node.func.attr))
            function = self._attribute(receiver, node.func.attr, node.func)
        else:
            function = self.evaluate(node.func)
        arguments = self._items(node.args)
        keywords = self._keywords(node.keywords)
        if arguments is not None and keywords is not None:
            if isinstance(function, Symbol) and function.path.startswith(f"{TRANSFORMS}."):
                return _transform(function, arguments, keywords, node)
            if isinstance(function, Symbol):
                method = FUNCTIONS.get(function.path)
            elif method:
                arguments = [receiver, *arguments]
            if method and not isinstance(seen(receiver), Unknown):
                try:
                    return method(*arguments, **keywords)
                except FAILURES:
                    pass
        result = _unknown(node, function, *(arguments or ()), *(keywords or {}).values())
        self.disturb(node)
        return result

    def _keywords(self, nodes: list[ast.keyword]) -> dict[str, Value] | None:
        keywords: dict[str, Value] = {}
        is_known = True
        for keyword in nodes:
            value = self.evaluate(keyword.value)
            try:
                additions: dict[Scalar, Value] = (
                    pairs_of(value) if keyword.arg is None else {keyword.arg: value}
                )
            except FAILURES:
                is_known = False
                continue
            keywords.update({str(name): item for name, item in additions.items()})
        return keywords if is_known else None


def _transform(function: Symbol, arguments: list[Value], keywords: dict[str, Value], node: ast.expr) -> Value:
    name = function.path.rpartition(".")[2]
    if "functional" in function.path or not name[:1].isupper():
        return Unknown(node)
    return Call(name, tuple(arguments), keywords, node)


def _widened(value: Value, node: ast.expr) -> Value:
    """Blame the whole of an expression for what is unknown within it, and say where it uses what is not."""
    if not isinstance(value, Unknown):
        return value
    begin, end = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
    is_within = begin <= (value.cause.lineno, value.cause.col_offset) < end
    return Unknown(node) if is_within else Unknown(value.cause, value.use or node)


def _unknown(node: ast.expr, *operands: Value) -> Unknown:
    """Blame the operand that is unknown, or else the whole."""
    return next((seen_ for operand in operands if isinstance(seen_ := seen(operand), Unknown)), Unknown(node))
