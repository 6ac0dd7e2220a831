"""Which names a statement reads, binds or changes."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def is_main_guard(test: ast.expr) -> bool:
    """Tell whether a condition only holds for a file that is run by itself."""
    match test:
        case ast.Compare(
            left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant("__main__")]
        ):
            return True
    return False


def names_read(statements: list[ast.stmt]) -> Iterator[str]:
    """Name what statements read that do not themselves bind or change it."""
    for statement in _flattened(statements):
        own = set(names_bound(statement)) | {changed_name(statement)}
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in own:
                yield node.id


def _flattened(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        if isinstance(statement, ast.If):
            yield ast.Expr(statement.test)
            yield from _flattened([*statement.body, *statement.orelse])
        else:
            yield statement


def changed_name(statement: ast.stmt) -> str | None:
    """Name what `a["b"] = 1` or `a.update(...)` changes."""
    match statement:
        case ast.Assign(targets=[ast.Subscript() as place, *_]) | ast.AugAssign(target=place):
            node: ast.expr = place
        case ast.Delete(targets=[node]) | ast.Expr(value=ast.Call(func=ast.Attribute() as node)):
            pass
        case _:
            return None
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def names_bound(statement: ast.stmt) -> Iterator[str]:
    """Name what a statement, followed or not, binds in the module; what functions within bind is theirs."""
    open_ends: list[ast.AST] = [statement]
    while open_ends:
        node = open_ends.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
                continue
            case ast.alias(name=path, asname=alias):
                yield alias or path.partition(".")[0]
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
            case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                continue
        open_ends.extend(reversed(list(ast.iter_child_nodes(node))))


_NAMESPACES = ("globals", "locals", "vars")
_CHANGERS = ("update", "setdefault", "pop", "popitem", "clear", "__setitem__", "__delitem__")


def global_name(statement: ast.Assign) -> str | None:
    """Name what `globals()["a"] = 1` binds, if it is that."""
    match statement:
        case ast.Assign(
            targets=[
                ast.Subscript(value=ast.Call(func=ast.Name(id="globals")), slice=ast.Constant(str(name)))
            ]
        ):
            is_plain = not any(isinstance(node, ast.Call) for node in ast.walk(statement.value))
            return name if is_plain else None
    return None


def may_change_anything(statement: ast.stmt) -> bool:
    """Tell whether a statement may set any name, as `exec` or `globals()["a"] = 1` do."""
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Name(id="exec" | "setattr" | "delattr")):
                return True
            case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id=name)), attr=method)):
                if name in _NAMESPACES and method in _CHANGERS:
                    return True
            case ast.Subscript(value=ast.Call(func=ast.Name(id=name)), ctx=ast.Store() | ast.Del()):
                if name in _NAMESPACES:
                    return True
    return False
