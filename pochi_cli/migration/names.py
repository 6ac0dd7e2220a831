"""Which names a statement reads or binds."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def names_bound(node: ast.AST) -> Iterator[str]:
    """Name what code, followed or not, binds in the module; what functions bind within is theirs."""
    open_ends: list[ast.AST] = [node]
    while open_ends:
        node = open_ends.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
                for part in ast.walk(node):
                    yield from part.names if isinstance(part, ast.Global) else ()
                continue
            case ast.alias(name=path, asname=alias) if path != "*":
                yield alias or path.partition(".")[0]
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
            ):
                yield name
            case ast.comprehension(iter=source, ifs=tests):  # its targets are its own
                open_ends.extend((source, *tests))
                continue
        open_ends.extend(reversed(list(ast.iter_child_nodes(node))))


def names_mentioned(node: ast.AST) -> Iterator[str]:
    """Name what code reads or binds."""
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def names_read(statement: ast.stmt) -> set[str]:
    """Name what a statement reads that it does not itself bind or change."""
    own = set(names_bound(statement))
    match statement:
        case ast.Assign(targets=[ast.Subscript() as place, *_]) | ast.AugAssign(target=place):
            own.add(_root(place))
        case ast.Delete(targets=[place]) | ast.Expr(value=ast.Call(func=ast.Attribute() as place)):
            own.add(_root(place))
    return set(names_mentioned(statement)) - own


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def may_set_any_name(statement: ast.stmt) -> bool:
    """Tell whether a statement may set any name, as `exec` or `globals()["a"] = 1` do."""
    names = ("exec", "globals", "locals", "vars", "setattr", "delattr")
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        for node in ast.walk(statement)
    )
