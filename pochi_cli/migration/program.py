"""What an old config's statements leave behind, found by reading them in order."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from pochi_cli.migration.expressions import TRANSFORMS, Expressions
from pochi_cli.migration.functions import METHODS
from pochi_cli.migration.names import is_main_guard, may_change_anything, names_bound, names_read
from pochi_cli.migration.operations import FAILURES, compute, items_of, pairs_of
from pochi_cli.migration.values import Array, Symbol, Table, Unknown, Value, seen, spoil


@dataclass(frozen=True)
class Binding:
    """A name of the file.

    Attributes:
        name: The name.
        value: What it stands for at the end.
        statement: The last one that binds it.
        is_used: Whether another statement reads it.
    """

    name: str
    value: Value
    statement: ast.stmt
    is_used: bool


@dataclass(frozen=True)
class Loss:
    """A statement whose effect is not known.

    Attributes:
        statement: The statement.
        names: What it may set or change.
    """

    statement: ast.stmt
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """What reading the file tells.

    Attributes:
        bindings: In the order in which they were last made.
        losses: In the order of the file.
    """

    bindings: tuple[Binding, ...]
    losses: tuple[Loss, ...]


def read_program(tree: ast.Module) -> Program:
    """Follow a module's statements without running anything."""
    return _Statements(tree).run()


class _Statements(Expressions):
    def __init__(self, tree: ast.Module) -> None:
        super().__init__()
        self._tree = tree
        self._current: ast.stmt = ast.Pass()
        self._bound_at: dict[str, ast.stmt] = {}
        self._since_all_lost: dict[str, None] = {}  # bound since everything was last forgotten
        self._losses: list[Loss] = []

    def run(self) -> Program:
        for statement in self._tree.body:
            self._current = statement
            try:
                self._follow(statement)
            except RecursionError:
                self._lose(statement)
        uses = set(names_read(self._tree.body))
        bindings = [
            Binding(name, self.values[name], statement, name in uses)
            for name, statement in self._bound_at.items()
            if name in self.values
        ]
        return Program(tuple(bindings), tuple(self._losses))

    def _follow(self, statement: ast.stmt) -> None:
        if may_change_anything(statement):
            self._lose_everything(statement)
            return
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
                if isinstance(self.evaluate(node), Unknown):
                    self._losses.append(Loss(statement))
            case ast.Delete(targets=targets):
                for target in targets:
                    self._delete(target, statement)
            case ast.Import(names=aliases):
                for alias in aliases:
                    path = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._bind(alias.asname or path, Symbol(path), statement)
            case ast.ImportFrom():
                self._import_from(statement)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._define(statement)
            case ast.AnnAssign() | ast.Pass() | ast.Global():
                pass
            case ast.If(orelse=[]) if is_main_guard(statement.test):
                self._losses.append(Loss(statement))  # not run when the file was imported as a config
            case _:
                self._lose(statement)

    def _bind(self, name: str, value: Value, statement: ast.stmt) -> None:
        self.values[name] = value
        self._bound_at.pop(name, None)
        self._bound_at[name] = statement
        self._since_all_lost[name] = None
        self.fresh.add(name)

    def forget(self, names: Iterable[str], cause: Unknown) -> None:
        """Make names, and what they hold, unknown; those not seen before count as bound here."""
        names = list(names)
        super().forget(names, cause)
        for name in names:
            self._bound_at.setdefault(name, self._current)

    def _lose_everything(self, statement: ast.stmt) -> None:
        self._lose(statement, self._since_all_lost)
        self._since_all_lost = {}

    def _lose(self, statement: ast.stmt, names: Iterable[str] = ()) -> None:
        changed = dict.fromkeys([*names, *names_bound(statement)])
        self.disturb(statement)
        self.forget(changed, Unknown(statement))
        self._losses.append(Loss(statement, tuple(changed)))

    def _assign(self, target: ast.expr, value: Value, statement: ast.stmt) -> None:
        match target:
            case ast.Name(id=name):
                self._bind(name, value, statement)
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                self._unpack(targets, value, statement)
            case ast.Subscript(value=base, slice=key):
                self._store(self.evaluate(base), self.evaluate(key), value, statement)
            case _:
                self._lose(statement)

    def _unpack(self, targets: list[ast.expr], value: Value, statement: ast.stmt) -> None:
        try:
            items = items_of(value)
        except FAILURES:
            items = []
        if len(items) == len(targets) and not any(isinstance(target, ast.Starred) for target in targets):
            for target, item in zip(targets, items, strict=True):
                self._assign(target, item, statement)
        else:
            self._lose(statement)

    def _store(self, base: Value, key: Value, value: Value, statement: ast.stmt) -> None:
        try:
            if isinstance(base, Array) and not base.spoilt and isinstance(key, int):
                base[key] = value
                return
            if isinstance(base, Table) and not base.spoilt:
                base.update(pairs_of(((key, value),)))
                return
        except FAILURES:
            pass
        spoil(base, Unknown(statement))
        self._losses.append(Loss(statement))

    def _augment(self, statement: ast.AugAssign) -> None:
        # Read as `target = target + value`, but a list or dict changes in place, under all its names.
        target, value = statement.target, seen(self.evaluate(statement.value))
        current = seen(self.evaluate(target))
        in_place = {ast.Add: (Array, "extend"), ast.BitOr: (Table, "update")}.get(type(statement.op))
        try:
            if in_place and isinstance(current, in_place[0]):
                METHODS[in_place](current, value)
                result: Value = current
            else:
                result = compute(statement.op, current, value)
        except FAILURES:
            spoil(current, Unknown(statement))
            result = Unknown(statement)
        self._assign(target, result, statement)

    def _delete(self, target: ast.expr, statement: ast.stmt) -> None:
        match target:
            case ast.Name(id=name):
                self.values.pop(name, None)
                self._bound_at.pop(name, None)
            case ast.Subscript(value=base_node, slice=key_node):
                base, key = self.evaluate(base_node), self.evaluate(key_node)
                if isinstance(base, Table) and not base.spoilt and isinstance(key, str) and key in base:
                    del base[key]
                else:
                    spoil(base, Unknown(statement))
                    self._losses.append(Loss(statement))
            case _:
                self._lose(statement)

    def _import_from(self, statement: ast.ImportFrom) -> None:
        module = "." * statement.level + (statement.module or "")
        for alias in statement.names:
            if alias.name != "*":
                self._bind(alias.asname or alias.name, Symbol(f"{module}.{alias.name}"), statement)
            elif module.startswith(TRANSFORMS):
                self.has_all_transforms = True
            else:  # it may replace any name, and bring any key
                self._lose_everything(statement)

    def _define(self, statement: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for node in (*statement.decorator_list, *statement.args.defaults, *statement.args.kw_defaults):
            if node is not None:
                self.evaluate(node)
        nodes = list(ast.walk(statement))
        rebound = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
        touched = {node.id for node in nodes if isinstance(node, ast.Name)}
        self.rebound |= rebound
        self.touched |= touched
        self.fresh |= rebound | touched
        self.forget([statement.name], Unknown(statement))
        self._losses.append(Loss(statement, (statement.name,)))
