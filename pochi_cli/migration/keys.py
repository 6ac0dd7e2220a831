"""What becomes of each name of an old config: a key, a comment, or nothing."""

from __future__ import annotations

import ast
from bisect import bisect
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.suggestions import meant_key, table_model
from pochi_cli.errors import KeyPath, format_key
from pochi_cli.migration.expressions import Binding
from pochi_cli.migration.inline import comment, inline
from pochi_cli.migration.page import Page
from pochi_cli.migration.program import Loss, Program
from pochi_cli.migration.source import Source
from pochi_cli.migration.steps import StepLine, is_pipeline, steps_of
from pochi_cli.migration.text import commented, key_lines, table_lines
from pochi_cli.migration.values import Place, Plain, Unknown, plain

_AUTOMATIC = ("train_pin_memory", "infer_pin_memory", "pin_memory", "gpu_non_blocking")
_UNCERTAIN = "only running the file would tell: a value that it had before is kept as a comment"
_WORDS_FOR_NONE: Mapping[KeyPath, str] = {("optuna", "pruner"): "none"}
"""What some keys of tables say in TOML instead of `None`."""
_INLINE = ("optimizer_params", "scheduler_params")
_NO_DEFAULT = object()
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


def map_keys(program: Program, source: Source) -> Page:
    """Decide what becomes of each name and of each statement that was not followed."""
    return _Mapper(program, source).run()


def _is_known(name: str) -> bool:
    return name in ClassificationConfig.model_fields


def _default(path: tuple[str, ...]) -> object:
    """Look up what holds where a key is left out; `_NO_DEFAULT` where that is not known."""
    model: Any = ClassificationConfig
    value: object = _NO_DEFAULT
    for name in path:
        field = getattr(model, "model_fields", {}).get(name)
        if field is None or field.is_required():
            return _NO_DEFAULT
        value = field.get_default(call_default_factory=True, validated_data={})
        model = table_model(field.annotation)
    return value


def _joined(*notes: str | None) -> str | None:
    return "; ".join(note for note in notes if note) or None


class _Mapper(Page):
    def __init__(self, program: Program, source: Source) -> None:
        super().__init__(source)
        self._program = program
        self._bindings = {binding.name: binding for binding in program.bindings}
        self._told = {(name, loss.statement) for loss in program.losses for name in loss.names}
        self._setters = [loss.statement.lineno for loss in program.losses if loss.may_set_any]

    def run(self) -> Page:
        for loss in self._program.losses:
            self._tell_loss(loss)
        for binding in self._program.bindings:
            is_told = isinstance(binding.value, Unknown) and (binding.name, binding.value.place) in self._told
            if self._is_key(binding) and not is_told:
                self._map_doubted(binding, binding.doubt) if binding.doubt else self._map(binding)
        self.diagnostics.sort(key=lambda told: (told.span and told.span.line) or 0)
        return self

    def _is_key(self, binding: Binding) -> bool:
        name = binding.name
        if isinstance(binding.statement, ast.Import):
            return False
        if _is_known(name) or name in _AUTOMATIC:
            return True
        is_ingredient = binding.is_used or name.isupper() or name.startswith("_")
        return not is_ingredient and not isinstance(binding.statement, ast.ImportFrom)

    def _map_doubted(self, binding: Binding, doubt: ast.stmt) -> None:
        """Keep the value that an uncertain key had as a comment, and tell what makes it uncertain."""
        told = len(self.diagnostics)
        self._map(binding)
        del self.diagnostics[told:]
        if (binding.name, doubt) not in self._told:
            message = f"`{binding.name}` is not carried over: this may change it"
            self.warn("not-carried-over", message, (binding.name,), doubt, help_=_UNCERTAIN)

    def _map(self, binding: Binding) -> None:
        name, node = binding.name, binding.statement
        if name in _AUTOMATIC:
            why = "Pochi chooses this by itself"
            self.remark(node, f"{name}: dropped, {why}")
            self.warn("dropped-key", f"`{name}` is dropped: {why}", (name,), node)
            return
        if is_pipeline(binding.value):
            self._map_pipeline(binding)
            return
        found = plain(binding.value, node)
        if isinstance(found.value, Unknown):
            self.place(node, [self._entry_lost((name,), found.value, node)])
        elif found.value is not None:
            self._map_value(binding, found)
        elif binding.doubt:
            self.remark(node, f"{name} was None in the old file, {self._reservation(binding)}")
        else:
            self._tell_none((name,), node)

    def _map_value(self, binding: Binding, found: Plain) -> None:
        name, node, value = binding.name, binding.statement, found.value
        before = [self._entry_lost((name, *path), cause, node) for path, cause in found.lost]
        for path in found.absent:
            if (word := _WORDS_FOR_NONE.get((name, *path))) and isinstance(value, dict):
                value |= {path[-1]: word}
                continue
            self._tell_none((name, *path), node)
            before.append(comment(f"{'.'.join((name, *path))} was None in the old file"))
        if name == "device" and str(value).startswith("cuda"):
            self.warn(
                "fixed-device",
                f"device = {inline(value)} is carried over: the file then trains on that device only",
                (name,),
                node,
                help_="leave device out: the best one at hand is chosen",
            )
            before.append(comment("leave device out, and the best one at hand is chosen"))
        is_table = isinstance(value, dict) and name not in _INLINE
        if is_table and isinstance(value, dict):
            lines = [*before, *self._caution(binding), *table_lines((name,), value)]
        else:
            is_one_line = node.lineno == node.end_lineno
            note = self.source.comment_at(node.lineno) if is_one_line else None
            lines = [*before, *key_lines(name, value, _joined(self._reservation(binding), note))]
        self._add(binding, lines, is_table=is_table)

    def _map_pipeline(self, binding: Binding) -> None:
        steps = steps_of(binding.value, binding.statement, self._normalization())
        lines = [*self._caution(binding), key_lines(binding.name, [])[0][:-1]]
        for position, step in enumerate(steps):
            for remark in step.remarks:
                what = f"{remark.argument} of " if remark.argument else ""
                place = f"line {step.node.lineno}: {what}{self.source.quote(step.node)}"
                lines.append(f"  {comment(f'not carried over from {place}')}")
                message = f"a step of `{binding.name}` {remark.message}"
                notes = self.definition(remark.cause)
                self.warn("not-carried-over", message, (binding.name,), remark.node, notes=notes)
            if step.step is not None:
                note = self._step_comment(steps, position, binding)
                lines.append(f"  {inline(step.step)},{f'  {comment(note)}' if note else ''}")
        self._add(binding, [*lines, "]"])

    def _reservation(self, binding: Binding) -> str | None:
        """Say on what it depends whether a name has its value."""
        if binding.doubt:
            return f"unless line {binding.doubt.lineno} changes it"
        later = bisect(self._setters, binding.statement.lineno)
        return f"line {self._setters[later]} may change it" if later < len(self._setters) else None

    def _caution(self, binding: Binding) -> list[str]:
        reservation = self._reservation(binding)
        return [comment(f"{binding.name}: {reservation}")] if reservation else []

    def _step_comment(self, steps: list[StepLine], position: int, binding: Binding) -> str | None:
        line = steps[position].node.end_lineno
        is_last = position + 1 == len(steps) or steps[position + 1].node.end_lineno != line
        statement = binding.statement
        is_own = is_last and line is not None and statement.lineno < line < (statement.end_lineno or 0)
        return self.source.comment_at(line) if is_own else None

    def _normalization(self) -> dict[str, object]:
        found = (self._bindings.get(name) for name in ("mean", "std"))
        certain = (binding for binding in found if binding and not binding.doubt)
        return {binding.name: plain(binding.value, binding.statement).value for binding in certain}

    def _add(self, binding: Binding, lines: list[str], *, is_table: bool = False) -> None:
        name, node = binding.name, binding.statement
        if binding.doubt:
            self.place(node, commented(lines), is_table=is_table)
            return
        if name == "scheduler_params" and self._has_no_scheduler():
            why = "there is no scheduler that is carried over"
        elif not _is_known(name):
            why = "Pochi has no such key"
        else:
            self.origins[name] = self.source.span(node)
            self.place(node, lines, is_table=is_table)
            return
        said = comment(f"not carried over from line {node.lineno}: {why}")
        self.place(node, [said, *commented(lines)], is_table=is_table)
        message = f"`{name}` is not carried over: {why}"
        meant = None if _is_known(name) else meant_key((name,), {name: binding.value})
        self.warn("not-carried-over", message, (name,), node, help_=_joined(meant, "it is kept as a comment"))

    def _has_no_scheduler(self) -> bool:
        binding = self._bindings.get("scheduler")
        return binding is None or bool(binding.doubt) or not isinstance(binding.value, str)

    def _entry_lost(self, path: KeyPath, unknown: Unknown, node: ast.stmt) -> str:
        """Tell that a key's value is not known; returns the comment that stands in its place."""
        name = ".".join(map(str, path))
        place: Place = node if len(path) == 1 else unknown.place
        message = f"`{name}` is not carried over"
        notes = self.definition(unknown.origin)
        remedy = "only running the file would tell its value: write it yourself"
        if path == ("device",):
            remedy = "leave it out, and the best one at hand is chosen"
        if _is_known(str(path[0])) or len(path) == 1:
            self.warn("not-carried-over", message, path, place, remedy, notes)
        prefix = "" if len(path) == 1 else f"{name} = "
        return comment(f"not carried over from line {place.lineno}: {prefix}{self.source.quote(place)}")

    def _tell_none(self, path: tuple[str, ...], node: ast.stmt) -> None:
        """Tell of a `None`, which TOML lacks, where leaving the key out means something else."""
        default = _default(path)
        is_same = default is None or default is False or isinstance(default, BaseModel | dict | tuple)
        if is_same or path == ("class_weights",) or (len(path) == 1 and not _is_known(path[0])):
            return
        name = format_key(path)
        help_ = f"write what `{name}` should be, unless its default is right"
        if isinstance(default, str | int | float):
            help_ = f"without it, `{name}` is {inline(default)}: write what it should be"
        message = f"`{name}` = None is not carried over: TOML has no None"
        self.warn("not-carried-over", message, path, node, help_=help_)

    def _tell_loss(self, loss: Loss) -> None:
        statement, line = loss.statement, loss.statement.lineno
        kind = _KINDS.get(type(statement), "statement")
        keys = [name for name in dict.fromkeys(loss.names) if _is_known(name)]
        listed = ", ".join(f"`{name}`" for name in keys)
        may = [f"it may set {listed}"] if keys else []
        help_ = _UNCERTAIN if keys else "only running the file would tell what it does"
        if loss.may_set_any:
            may.append("it may change any key above it")
            help_ = f"those keys are carried over with the comment `line {line} may change it`: check them"
        message = "; ".join((f"this {kind} is not carried over", *may))
        self.warn("not-carried-over", message, (), statement, help_)
        quoted = self.source.quote(statement)
        sets = [f"it may set {', '.join(keys)}"] * bool(keys) + may[bool(keys) :]
        said = f" ({'; '.join(sets)})" if sets else ""
        self.remark(statement, f"not carried over from line {line}: {quoted}{said}")
