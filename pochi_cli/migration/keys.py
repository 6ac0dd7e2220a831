"""What becomes of each name of an old config: a key, a comment, or nothing."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from pochi_cli.config.root import ClassificationConfig
from pochi_cli.errors import Diagnostic, KeyPath, Note, Span
from pochi_cli.migration.inline import comment, inline
from pochi_cli.migration.program import Binding, Loss, Program
from pochi_cli.migration.source import Source
from pochi_cli.migration.steps import StepLine, is_pipeline, steps_of
from pochi_cli.migration.text import Part, commented, key_lines, table_lines
from pochi_cli.migration.values import Place, Plain, Unknown, plain, seen

_AUTOMATIC = ("train_pin_memory", "infer_pin_memory", "pin_memory", "gpu_non_blocking")
# The old program's keys that this version may not have: told of even when the file uses them elsewhere.
_OTHERS = ("optuna", "enable_gradient_tracking", "gradient_tracking_config", "confusion_matrix_config")
_INLINE = ("optimizer_params", "scheduler_params")
_KINDS: Mapping[type[ast.stmt], str] = {
    ast.If: "`if`",
    ast.For: "loop",
    ast.While: "loop",
    ast.With: "`with`",
    ast.Try: "`try`",
    ast.Match: "`match`",
    ast.Assert: "`assert`",
    ast.FunctionDef: "function",
    ast.ClassDef: "class",
    ast.Expr: "call",
    ast.ImportFrom: "import of all names",
}


@dataclass
class Keys:
    """What an old config becomes.

    Attributes:
        parts: The parts of the new file.
        diagnostics: What is not carried over, or not as it was.
        origins: Where each key that is carried over stands in the old file.
    """

    parts: list[Part] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    origins: dict[str, Span] = field(default_factory=dict)


def map_keys(program: Program, source: Source) -> Keys:
    """Decide what becomes of each name and of each statement that was not followed."""
    return _Mapper(program, source).run()


def _is_known(name: str) -> bool:
    return name in ClassificationConfig.model_fields


class _Mapper:
    def __init__(self, program: Program, source: Source) -> None:
        self._program = program
        self._source = source
        self._bindings = {binding.name: binding for binding in program.bindings}
        self._told = {(name, loss.statement) for loss in program.losses for name in loss.names}
        self._lines: set[int] = set()  # of the old file, with a part of their own
        self._result = Keys()

    def run(self) -> Keys:
        for loss in self._program.losses:
            self._tell_loss(loss)
        for binding in self._program.bindings:
            if self._is_key(binding):
                self._map(binding)
        self._result.diagnostics.sort(key=lambda told: (told.span and told.span.line) or 0)
        return self._result

    def _is_key(self, binding: Binding) -> bool:
        name, value = binding.name, seen(binding.value)
        if isinstance(value, Unknown) and (name, value.cause) in self._told:
            return False
        if isinstance(binding.statement, ast.Import):
            return False
        if _is_known(name) or name in _AUTOMATIC or name in _OTHERS:
            return True
        is_ingredient = binding.is_used or name.isupper() or name.startswith("_")
        return not is_ingredient and not isinstance(binding.statement, ast.ImportFrom)

    def _map(self, binding: Binding) -> None:
        name, node = binding.name, binding.statement
        if name in _AUTOMATIC:
            why = "Pochi chooses this by itself"
            self._remark(node, f"{name}: dropped, {why}")
            self._warn("dropped-key", f"`{name}` is dropped: {why}", (name,), node)
            return
        if is_pipeline(binding.value):
            self._map_pipeline(binding)
            return
        found = plain(binding.value, node)
        if isinstance(found.value, Unknown):
            self._lose((name,), found.value, node)
        elif found.value is not None:
            self._map_value(binding, found)

    def _map_value(self, binding: Binding, found: Plain) -> None:
        name, node, value = binding.name, binding.statement, found.value
        before = [self._entry_lost((name, *path), cause, node) for path, cause in found.lost]
        before += [comment(f"{'.'.join((name, *path))} was None in the old file") for path in found.absent]
        if name == "device" and str(value).startswith("cuda"):
            self._warn(
                "fixed-device",
                f"device = {inline(value)} is carried over: the file then trains on that device only",
                (name,),
                node,
                help_="leave device out: the best one at hand is chosen",
            )
            before.append(comment("leave device out, and the best one at hand is chosen"))
        is_table = isinstance(value, dict) and name not in _INLINE
        if is_table and isinstance(value, dict):
            lines = [*before, *table_lines((name,), value)]
        else:
            is_one_line = node.lineno == node.end_lineno
            note = self._source.comment_at(node.lineno) if is_one_line else None
            lines = [*before, *key_lines(name, value, note)]
        self._add(binding, lines, is_table=is_table)

    def _map_pipeline(self, binding: Binding) -> None:
        steps = steps_of(binding.value, binding.statement, self._normalization())
        lines = [f"{key_lines(binding.name, [])[0][:-1]}"]
        for position, step in enumerate(steps):
            for remark in step.remarks:
                what = f"{remark.argument} of " if remark.argument else ""
                place = f"line {step.node.lineno}: {what}{self._source.quote(step.node)}"
                lines.append(f"  {comment(f'not carried over from {place}')}")
                message = f"a step of `{binding.name}` {remark.message}"
                self._warn("not-carried-over", message, (binding.name,), remark.node)
            if step.step is not None:
                note = self._step_comment(steps, position, binding)
                lines.append(f"  {inline(step.step)},{f'  {comment(note)}' if note else ''}")
        self._add(binding, [*lines, "]"])

    def _step_comment(self, steps: list[StepLine], position: int, binding: Binding) -> str | None:
        line = steps[position].node.end_lineno
        is_last = position + 1 == len(steps) or steps[position + 1].node.end_lineno != line
        statement = binding.statement
        is_own = is_last and line is not None and statement.lineno < line < (statement.end_lineno or 0)
        return self._source.comment_at(line) if is_own else None

    def _normalization(self) -> dict[str, object]:
        values: dict[str, object] = {}
        for name in ("mean", "std"):
            if name in self._bindings:
                values[name] = plain(self._bindings[name].value, self._bindings[name].statement).value
        return values

    def _add(self, binding: Binding, lines: list[str], *, is_table: bool = False) -> None:
        name, node = binding.name, binding.statement
        if name == "scheduler_params" and self._has_no_scheduler():
            why = "there is no scheduler that is carried over"
        elif not _is_known(name):
            why = "Pochi has no such key" if name not in _OTHERS else "this version of Pochi has no such key"
        else:
            self._result.origins[name] = self._source.span(node)
            self._place(node, lines, is_table=is_table)
            return
        said = comment(f"not carried over from line {node.lineno}: {why}")
        self._place(node, [said, *commented(lines)], is_table=is_table)
        message = f"`{name}` is not carried over: {why}"
        self._warn("not-carried-over", message, (name,), node, help_="it is kept as a comment")

    def _has_no_scheduler(self) -> bool:
        binding = self._bindings.get("scheduler")
        return binding is None or not isinstance(plain(binding.value, binding.statement).value, str)

    def _lose(self, path: KeyPath, unknown: Unknown, node: ast.stmt) -> None:
        self._place(node, [self._entry_lost(path, unknown, node)])

    def _entry_lost(self, path: KeyPath, unknown: Unknown, node: ast.stmt) -> str:
        """Tell that a key's value is not known; returns the comment that stands in its place."""
        cause = unknown.cause
        name = ".".join(map(str, path))
        is_here = node.lineno <= cause.lineno <= (node.end_lineno or node.lineno)
        place: Place = node if is_here and len(path) == 1 else cause
        span, message = self._source.span(place), f"`{name}` is not carried over"
        notes: tuple[Note, ...] = ()
        if not is_here and len(path) == 1:
            span = self._source.span(node)
            notes = (Note("what it is made of cannot be known from here on", span=self._source.span(cause)),)
        remedy = "only running the file would tell its value: write it yourself"
        if path == ("device",):
            remedy = "leave it out, and the best one at hand is chosen"
        if _is_known(str(path[0])) or len(path) == 1:
            self._result.diagnostics.append(
                Diagnostic("not-carried-over", message, path, "warning", remedy, notes, span=span)
            )
        quoted = self._source.quote(node if len(path) == 1 else cause)
        prefix = "" if len(path) == 1 else f"{name} = "
        return comment(f"not carried over from line {span.line}: {prefix}{quoted}")

    def _tell_loss(self, loss: Loss) -> None:
        statement = loss.statement
        kind = _KINDS.get(type(statement), "statement")
        keys = [name for name in dict.fromkeys(loss.names) if _is_known(name) or name in _OTHERS]
        listed = ", ".join(f"`{name}`" for name in keys)
        self._warn(
            "not-carried-over",
            f"this {kind} is not carried over" + (f"; it may set {listed}" if keys else ""),
            (),
            statement,
            help_="only running the file would tell what it does"
            + (": write what it sets yourself" if keys else ""),
        )
        quoted = self._source.quote(statement)
        sets = f" (it may set {', '.join(keys)})" if keys else ""
        self._remark(statement, f"not carried over from line {statement.lineno}: {quoted}{sets}")

    def _remark(self, node: ast.stmt, text: str) -> None:
        self._place(node, [comment(text)])

    def _place(self, node: ast.stmt, lines: list[str], *, is_table: bool = False) -> None:
        is_first = node.lineno not in self._lines
        self._lines.add(node.lineno)
        above = self._source.comments_above(node.lineno) if is_first else []
        has_gap = is_first and self._source.is_blank(node.lineno - len(above) - 1)
        self._result.parts.append(
            Part(node.lineno, (*map(comment, above), *lines), is_table=is_table, has_gap=has_gap)
        )

    def _warn(self, code: str, message: str, key: KeyPath, node: Place, help_: str | None = None) -> None:
        self._result.diagnostics.append(
            Diagnostic(code, message, key, "warning", help_, span=self._source.span(node))
        )
