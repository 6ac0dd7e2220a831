"""What an old config's statements leave behind, found by reading them in order."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pochi_cli.migration.expressions import TRANSFORMS, Expressions
from pochi_cli.migration.functions import METHODS
from pochi_cli.migration.names import (
    changed_name,
    global_name,
    is_main_guard,
    may_change_anything,
    names_bound,
    names_read,
)
from pochi_cli.migration.operations import FAILURES, compute, items_of, pairs_of, truth
from pochi_cli.migration.values import (
    Array,
    Candidate,
    Symbol,
    Table,
    Unknown,
    Value,
    seen,
    spoil,
)

_MOST_CANDIDATES = 8
"""More values than this help nobody to choose, and take long to list."""
_DEEPEST = 10
_LONGEST_CONDITION = 200


@dataclass(frozen=True)
class Binding:
    """A name of the file.

    Attributes:
        name: The name.
        value: What it stands for at the end.
        statement: The last one that binds it.
        is_used: Whether another statement reads it.
        doubt: A later statement that may set or change any name, this one included.
    """

    name: str
    value: Value
    statement: ast.stmt
    is_used: bool
    doubt: ast.stmt | None = None


@dataclass(frozen=True)
class Loss:
    """A statement whose effect is not known.

    Attributes:
        statement: The statement.
        names: What it may set or change.
        doubted: What stands above it, where it may set any name.
    """

    statement: ast.stmt
    names: tuple[str, ...] = ()
    doubted: tuple[str, ...] = ()


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
        self._since_doubt: dict[str, None] = {}  # bound since any name may last have been set
        self._doubts: dict[str, ast.stmt] = {}
        self._setters: set[str] = set()  # functions that may set any name
        self._depth = 0  # of branches within branches
        self._losses: list[Loss] = []

    def run(self) -> Program:
        for statement in self._tree.body:
            try:
                self._follow(statement)
            except RecursionError:
                self._lose(statement)
        uses = set(names_read(self._tree.body))
        bindings = [
            Binding(name, self.values[name], statement, name in uses, self._doubts.get(name))
            for name, statement in self._bound_at.items()
            if name in self.values
        ]
        return Program(tuple(bindings), tuple(self._losses))

    def _follow(self, statement: ast.stmt) -> None:
        self._current = statement
        doubt = self._doubt_within(statement)
        if isinstance(statement, ast.If):
            self._choose(statement, self._follow)
        elif isinstance(statement, ast.Assign) and (name := global_name(statement)):
            self._bind(name, self.evaluate(statement.value), statement)
        elif self._may_set_anything(statement):
            self._doubt_everything(statement)
        else:
            self._follow_single(statement)
        if doubt:
            self._doubts |= dict.fromkeys(names_bound(statement), doubt)
            if changed := changed_name(statement):
                self._doubts[changed] = doubt

    def _doubt_within(self, statement: ast.stmt) -> ast.stmt | None:
        """Find what casts doubt on a name that a statement reads."""
        if not self._doubts:
            return None
        names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
        is_changed = isinstance(statement, ast.AugAssign)
        read = (node.id for node in names if is_changed or isinstance(node.ctx, ast.Load))
        return next((self._doubts[name] for name in read if name in self._doubts), None)

    def _may_set_anything(self, statement: ast.stmt) -> bool:
        calls = (node.func for node in ast.walk(statement) if isinstance(node, ast.Call))
        is_setter = any(isinstance(function, ast.Name) and function.id in self._setters for function in calls)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):  # only once it is called
            if is_setter or may_change_anything(statement):
                self._setters.add(statement.name)
            return False
        return is_setter or may_change_anything(statement)

    def _choose(self, statement: ast.If, follow: Callable[[ast.stmt], None]) -> None:
        """Follow the branch that Python would take."""
        if is_main_guard(statement.test):  # not run when the file was imported as a config
            if not statement.orelse:
                self._losses.append(Loss(statement))
            holds = False
        else:
            try:
                holds = truth(self.evaluate(statement.test))
            except FAILURES:
                if self._may_set_anything(statement):
                    self._doubt_everything(statement)
                else:
                    self._lose(statement)
                return
        for inner in statement.body if holds else statement.orelse:
            follow(inner)

    def _follow_single(self, statement: ast.stmt) -> None:
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
            case _:
                self._lose(statement)

    def _bind(self, name: str, value: Value, statement: ast.stmt) -> None:
        # Candidates are those of the name that they were found for.
        is_choice = isinstance(value, Unknown) and value.candidates
        self.values[name] = Unknown(value.cause) if isinstance(value, Unknown) and is_choice else value
        self._doubts.pop(name, None)
        self._bound_at.pop(name, None)
        self._bound_at[name] = statement
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            self._since_doubt[name] = None
        self.fresh.add(name)

    def forget(self, names: Iterable[str], cause: Unknown) -> None:
        """Make names, and what they hold, unknown; those not seen before count as bound here."""
        names = list(names)
        super().forget(names, cause)
        for name in names:
            self._bound_at.setdefault(name, self._current)

    def _doubt_everything(self, statement: ast.stmt) -> None:
        self._doubts |= dict.fromkeys(self._since_doubt, statement)
        self._lose(statement, tuple(self._since_doubt))
        self._since_doubt = {}

    def _lose(self, statement: ast.stmt, doubted: tuple[str, ...] = ()) -> None:
        changed = dict.fromkeys(names_bound(statement))
        candidates = self._candidates(statement, changed)
        self.disturb(statement)
        for name in changed:
            self.values[name] = Unknown(statement, candidates=candidates.get(name, ()))
            self._bound_at.setdefault(name, statement)
        self._losses.append(Loss(statement, tuple(changed), doubted))

    def _candidates(self, statement: ast.stmt, names: Iterable[str]) -> dict[str, tuple[Candidate, ...]]:
        """Find what names may stand for behind a statement that may bind them, or may not."""
        if not isinstance(statement, ast.If | ast.For | ast.While | ast.Try | ast.Match):
            return {}
        line = statement.lineno
        before = {name: self._found(name, f"unless line {line} sets it") for name in names}
        if not isinstance(statement, ast.If):
            return before
        if self._depth >= _DEEPEST:
            return {}
        self._depth += 1
        try:
            branches = [
                self._branch(statement.body, f"if line {line} holds"),
                self._branch(statement.orelse, f"if line {line} does not hold"),
            ]
        finally:
            self._depth -= 1
        candidates = {}
        for name in names:
            found = [found for branch in branches for found in branch.get(name, before[name])]
            by_statement = {candidate.statement: candidate for candidate in [*found, *before[name]]}
            bound = {candidate.statement for candidate in found}
            choices = tuple(choice for choice in by_statement.values() if choice.statement in bound)
            candidates[name] = choices if len(choices) <= _MOST_CANDIDATES else ()
        return candidates

    def _found(self, name: str, condition: str) -> tuple[Candidate, ...]:
        if name not in self._bound_at or name not in self.values:
            return ()
        value = self.values[name]
        if not isinstance(value, Unknown) or not value.candidates:
            return (Candidate(value, self._bound_at[name], condition),)
        if not condition.startswith("unless"):
            return value.candidates
        return tuple(
            dataclasses.replace(choice, condition=f"{choice.condition}, {condition}")
            for choice in value.candidates
            if len(choice.condition) < _LONGEST_CONDITION
        )

    def _branch(self, statements: list[ast.stmt], condition: str) -> dict[str, tuple[Candidate, ...]]:
        """Find what names stand for at the end of a branch that may be taken; then take it back."""
        names = {name for statement in statements for name in names_bound(statement)}
        values = {name: self.values[name] for name in names if name in self.values}
        places = {name: self._bound_at[name] for name in names if name in self._bound_at}
        known_losses = len(self._losses)
        for statement in statements:
            self._try(statement)
        found = {name: self._found(name, condition) for name in names}
        del self._losses[known_losses:]
        for name in names:
            self.values.pop(name, None)
            self._bound_at.pop(name, None)
        self.values |= values
        self._bound_at |= places
        return found

    def _try(self, statement: ast.stmt) -> None:
        """Follow a statement of a branch that may be taken, unless it changes a list or dict."""
        is_calm = not any(self._may_change(node) for node in ast.walk(statement))
        match statement:
            case ast.If():
                self._choose(statement, self._try)
            case ast.Assign(targets=[ast.Name()]) | ast.AnnAssign(target=ast.Name()) if is_calm:
                self._follow_single(statement)
            case ast.AugAssign(target=ast.Name(id=name), value=ast.Constant()) if isinstance(
                self.values.get(name), str | int | float
            ):
                self._augment(statement)
            case _:
                self.disturb(statement)
                self.forget(names_bound(statement), Unknown(statement))

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
                self._doubt_everything(statement)

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
