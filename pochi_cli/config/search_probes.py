"""What is searched is held against what the searched keys allow, by trying its choices and bounds.

Each is put into the config as a trial would put it, and the config is checked as any other: what is wrong
only then is wrong with what was tried.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.search import Choices, OptunaConfig
from pochi_cli.config.search_rules import SPACE
from pochi_cli.config.search_space import (
    CHOOSERS,
    Parameter,
    has_place,
    parameters,
    plain_config,
    with_values,
)
from pochi_cli.config.suggestions import meant_key
from pochi_cli.config.values import show
from pochi_cli.errors import Diagnostic, KeyPath, Note, format_key

Check = Callable[[Mapping[str, Any]], Iterable[Diagnostic]]

_MOST_CHOICES = 200
"""Choices of one parameter that are tried; each is checked again when a trial draws it."""


def probe(config: ClassificationConfig, refused: set[KeyPath], check: Check) -> Iterator[Diagnostic]:
    """Find the choices and bounds that the config would refuse.

    Args:
        config: A config with a search.
        refused: Keys that cannot be searched, whatever is drawn.
        check: What finds the mistakes of a config without a search.
    """
    assert config.optuna is not None
    search, plain = config.optuna, plain_config(config)
    searched = tuple(
        parameter
        for parameter in parameters(search)
        if has_place(plain, parameter.path) and (*SPACE, parameter.name) not in refused
    )
    known = {_identity(diagnostic) for diagnostic in check(plain)}
    plain["epochs"] = search.optuna_epochs
    for diagnostic in check(plain):
        is_searched = _is_within(diagnostic, (other.path for other in searched))
        if _identity(diagnostic) not in known and not is_searched and diagnostic.code != "patience-too-long":
            yield _of_epochs(diagnostic, search)
        known.add(_identity(diagnostic))
    told: set[tuple[KeyPath, str, KeyPath]] = set()
    for parameter in searched:
        for choices in _contexts(parameter, searched):
            for key, value in _tried(parameter):
                chosen = choices | ({str(parameter.path[0]): value} if parameter.decides else {})
                others = _around(parameter, searched, plain, chosen)
                others |= {(name,): choice for name, choice in choices.items()}
                changed = with_values(plain, others | {parameter.path: value})
                for diagnostic in check(changed):
                    is_known = _identity(diagnostic) in known or _is_within(diagnostic, others)
                    if diagnostic.severity == "warning" or is_known:
                        continue
                    if diagnostic.code == "unknown-key" and diagnostic.key == parameter.path:
                        found = _unknown(diagnostic, parameter, changed)
                    else:
                        found = _moved(diagnostic, parameter, key, value, choices)
                    if (found.key, *_identity(diagnostic)) not in told:
                        told.add((found.key, *_identity(diagnostic)))
                        yield found


def left_out(config: ClassificationConfig) -> Iterator[Diagnostic]:
    """Warn of arguments of the file that some searched optimizer or scheduler does not have."""
    assert config.optuna is not None
    plain = plain_config(config)
    for parameter in parameters(config.optuna):
        chooser = str(parameter.path[0])
        if not parameter.decides or not isinstance(parameter.space, Choices):
            continue
        for argument in plain.get(f"{chooser}_params", {}):
            lacking = [
                str(choice)
                for choice in parameter.space.choices
                if choice in CHOOSERS[chooser] and argument not in CHOOSERS[chooser][str(choice)].model_fields
            ]
            if lacking:
                yield Diagnostic(
                    "partly-used",
                    f"{chooser}_params.{argument} is left out of trials with {', '.join(lacking)}, which "
                    f"{'have' if len(lacking) > 1 else 'has'} no such argument",
                    (f"{chooser}_params", argument),
                    severity="warning",
                    at="key",
                    notes=(Note(f"{chooser} is searched here", (*SPACE, parameter.name)),),
                )


def _identity(diagnostic: Diagnostic) -> tuple[str, KeyPath]:
    return diagnostic.code, diagnostic.key


def _is_within(diagnostic: Diagnostic, paths: Iterable[KeyPath]) -> bool:
    return any(diagnostic.key[: len(path)] == path for path in paths)


def _tried(parameter: Parameter) -> Iterator[tuple[KeyPath, Any]]:
    """List what is tried of a parameter, each with its key in the file."""
    key = (*SPACE, parameter.name)
    if isinstance(parameter.space, Choices):
        for position, choice in enumerate(parameter.space.choices[:_MOST_CHOICES]):
            yield (*key, "choices", position), choice
    else:
        yield (*key, "low"), parameter.space.low
        yield (*key, "high"), parameter.space.high


def _contexts(parameter: Parameter, searched: tuple[Parameter, ...]) -> Iterator[dict[str, Any]]:
    """List the searched optimizers or schedulers that a parameter is an argument of; else nothing special."""
    chooser = next((other for other in searched if other.path == (parameter.chooser,)), None)
    if chooser is None or not isinstance(chooser.space, Choices):
        yield {}
        return
    names = [choice for choice in chooser.space.choices if choice in CHOOSERS[str(chooser.path[0])]]
    having = [name for name in names if parameter.is_known_to(name)]
    # An argument that none of them has is refused by the first.
    for name in having or names[:1]:
        yield {str(chooser.path[0]): name}


def _around(
    parameter: Parameter,
    searched: tuple[Parameter, ...],
    plain: Mapping[str, Any],
    chosen: Mapping[str, Any],
) -> dict[KeyPath, Any]:
    """Choose values for searched arguments that the file does not give: they may be required."""
    values: dict[KeyPath, Any] = {}
    for other in searched:
        given = plain.get(str(other.path[0]), {})
        if other is parameter or other.chooser is None or other.path[1] in given:
            continue
        if other.is_known_to(chosen.get(other.chooser, plain.get(other.chooser))):
            values[other.path] = next(_tried(other))[1]
    return values


def _moved(
    diagnostic: Diagnostic, parameter: Parameter, key: KeyPath, value: Any, choices: Mapping[str, Any]
) -> Diagnostic:
    """Say of a part of the search space what was found of the key that it set."""
    context = ", ".join(f"{name} = {show(choice)}" for name, choice in choices.items())
    if diagnostic.key[: len(parameter.path)] != parameter.path:
        context = ", ".join(filter(None, (f"{parameter.name} = {show(value)}", context)))
    return dataclasses.replace(
        diagnostic,
        message=(f"with {context}: " if context else "") + diagnostic.message,
        key=key,
        at="value",
        called_by=(),
        notes=tuple(_moved_note(note) for note in diagnostic.notes if note.key != parameter.path),
    )


def _moved_note(note: Note) -> Note:
    if note.key == ("epochs",):
        return Note("optuna_epochs is set here", ("optuna", "optuna_epochs"))
    return note


def _unknown(diagnostic: Diagnostic, parameter: Parameter, changed: Mapping[str, Any]) -> Diagnostic:
    """Say of a name of the search space that it is no key, and which is probably meant."""
    alone: dict[str, Any] = dict(changed)
    node: Any = alone
    for part in parameter.path[:-1]:
        node[part] = copy.copy(node[part])
        node = node[part]
    # What is meant may be set by the file, which is no reason against searching it.
    for key in [key for key in node if key not in (parameter.path[-1], "name")]:
        if node is not alone or key not in CHOOSERS:
            del node[key]
    return dataclasses.replace(
        diagnostic, key=(*SPACE, parameter.name), at="key", help=meant_key(parameter.path, alone), notes=()
    )


def _of_epochs(diagnostic: Diagnostic, search: OptunaConfig) -> Diagnostic:
    """Say of optuna_epochs what was found of a config with so many epochs."""
    return dataclasses.replace(
        diagnostic,
        message=f"in trials of {search.optuna_epochs} epochs: {diagnostic.message}",
        key=("optuna", "optuna_epochs"),
        at="value",
        called_by=(),
        help=None,
        notes=(Note(f"{format_key(diagnostic.key)} is set here", diagnostic.key),),
    )
