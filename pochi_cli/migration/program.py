"""What an old config's statements leave behind, found by reading them in order.

Followed are assignments, changes of lists and dicts by known methods, imports, and an `if` whose condition is
known. Any other statement makes uncertain what it may bind or change: it is told, and reading goes on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from pochi_cli.migration.expressions import NOT_UNDERSTOOD, TRANSFORMS, Binding, Expressions, NotKnownError
from pochi_cli.migration.functions import compute
from pochi_cli.migration.names import may_set_any_name, names_bound, names_mentioned, names_read
from pochi_cli.migration.values import Symbol, Unknown, Value, containers


@dataclass(frozen=True)
class Loss:
    """A statement that was not followed.

    Attributes:
        statement: The statement.
        names: What it may set or change.
        may_set_any: Whether it may set any name at all.
    """

    statement: ast.stmt
    names: tuple[str, ...] = ()
    may_set_any: bool = False


@dataclass(frozen=True)
class Program:
    """What reading the file tells.

    Attributes:
        bindings: The names with what they stand for at the end.
        losses: In the order of the file.
    """

    bindings: tuple[Binding, ...]
    losses: tuple[Loss, ...]


def read_program(tree: ast.Module) -> Program:
    """Follow a module's statements without running anything."""
    return _Statements().run(tree)


class _Statements(Expressions):
    def __init__(self) -> None:
        super().__init__()
        self._losses: list[Loss] = []

    def run(self, tree: ast.Module) -> Program:
        uses: set[str] = set()
        for statement in tree.body:
            uses |= names_read(statement)
            try:
                self._follow(statement)
            except RecursionError:
                self._lose(statement)
        for binding in self.names.values():
            binding.is_used = binding.name in uses
            if self.doubted:
                found = (self.doubted.get(id(part)) for part in containers(binding.value))
                binding.doubt = binding.doubt or next((doubt for _, doubt in filter(None, found)), None)
        return Program(tuple(self.names.values()), tuple(self._losses))

    def _follow(self, statement: ast.stmt) -> None:
        self.failed = []
        branch: list[ast.stmt] = []
        try:
            if isinstance(statement, ast.If):
                branch = statement.body if self.holds(statement.test) else statement.orelse
            elif may_set_any_name(statement):
                raise NotKnownError
            else:
                self._apply(statement)
        except NOT_UNDERSTOOD:
            self._lose(statement)
        else:
            self._doubt(self.failed, statement)
        for inner in branch:
            self._follow(inner)

    def _apply(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Assign(targets=targets, value=node):
                value = self.evaluate(node)
                for target in targets:
                    self._assign(target, value, statement)
            case ast.AnnAssign(target=target, value=ast.expr() as node):
                self._assign(target, self.evaluate(node), statement)
            case ast.AugAssign():
                self._augment(statement)
            case ast.Expr(value=node):
                self.known(node)
            case ast.Import(names=aliases):
                for alias in aliases:
                    path = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._bind(alias.asname or path, Symbol(path), statement)
            case ast.ImportFrom():
                self._import_from(statement)
            case ast.AnnAssign() | ast.Pass():
                pass
            case _:
                raise NotKnownError

    def _bind(self, name: str, value: Value, statement: ast.stmt) -> None:
        self.names[name] = Binding(name, value, statement)

    def _assign(self, target: ast.expr, value: Value, statement: ast.stmt) -> None:
        match target:
            case ast.Name(id=name):
                self._bind(name, value, statement)
            case ast.Tuple(elts=targets) | ast.List(elts=targets) if isinstance(value, list | tuple):
                for inner, item in zip(targets, value, strict=True):
                    self._assign(inner, item, statement)
            case ast.Subscript(value=base, slice=key):
                self.known(base)[self.known(key)] = value
            case _:
                raise NotKnownError

    def _augment(self, statement: ast.AugAssign) -> None:
        # Read as `target = target + value`, but a list or dict changes in place, under all its names.
        current, value = self.known(statement.target), self.known(statement.value)
        if isinstance(current, list) and isinstance(statement.op, ast.Add):
            value = list(value)
        result = compute(statement.op, current, value)
        if isinstance(current, list):
            current[:] = result
        elif isinstance(current, dict):
            current.update(result)
        else:
            self._assign(statement.target, result, statement)

    def _import_from(self, statement: ast.ImportFrom) -> None:
        module = "." * statement.level + (statement.module or "")
        for alias in statement.names:
            if alias.name != "*":
                self._bind(alias.asname or alias.name, Symbol(f"{module}.{alias.name}"), statement)
            elif module.startswith(TRANSFORMS):
                self.has_all_transforms = True
            else:
                raise NotKnownError

    def _lose(self, statement: ast.stmt) -> None:
        """Go on behind a statement that is not followed."""
        names = self._doubt([statement], statement)
        is_star = isinstance(statement, ast.ImportFrom)
        self._losses.append(Loss(statement, names, is_star or may_set_any_name(statement)))

    def _doubt(self, nodes: Iterable[ast.expr | ast.stmt], statement: ast.stmt) -> tuple[str, ...]:
        """Make uncertain what code may bind, and, where it may change any list or dict, all that it mentions.

        Args:
            nodes: The code, an inner part before the outer.
            statement: What is to blame.

        Returns:
            The names concerned.
        """
        concerned: dict[str, None] = {}
        covered: set[ast.AST] = set()
        for node in reversed(list(nodes)):
            if node in covered:
                continue
            parts = set(ast.walk(node))
            covered |= parts
            if any(self.may_change_values(part) for part in parts):
                for name in dict.fromkeys(names_mentioned(node)):
                    if name in self.names and self._doubt_contents(self.names[name], statement):
                        concerned[name] = None
            concerned |= dict.fromkeys(names_bound(node))
            for name in names_bound(node):
                if name not in self.names or isinstance(self.names[name].value, Symbol):
                    self._bind(name, Unknown(statement), statement)
                elif not self.names[name].doubt:
                    self.names[name].doubt = statement
        return tuple(concerned)

    def _doubt_contents(self, binding: Binding, statement: ast.stmt) -> bool:
        found = list(containers(binding.value, self.doubted.keys()))
        self.doubted |= {id(part): (part, statement) for part in found}
        return bool(found)
