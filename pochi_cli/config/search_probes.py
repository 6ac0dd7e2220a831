"""What is searched is held against what the searched keys allow, by trying its choices and bounds.

Each is put into the config as a trial would put it, and the config is checked as any other: what is wrong
only then is wrong with what was tried.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations, product
from typing import Any

from pochi_cli.config.root import TrainingConfig
from pochi_cli.config.search import Choices, IntRange, OptunaConfig
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

_Identity = tuple[str, KeyPath]
_MOST_PAIRS = 300
"""Pairs of choices that are tried."""
_MOST_CHOICES = 200
"""Choices of one parameter that are tried; each is checked again when a trial draws it."""


def probe(config: TrainingConfig, wrong: set[KeyPath], check: Check) -> Iterator[Diagnostic]:
    """Find the choices and bounds that the config would refuse.

    Args:
        config: A config with a search.
        wrong: Keys of which mistakes are known: what depends on them is not tried.
        check: What finds the mistakes of a config without a search.
    """
    assert config.optuna is not None
    search, plain = config.optuna, plain_config(config)
    tops = {str(key[0]) for key in wrong}
    spoilt = tops | {f"{top}_params" for top in tops} | {top.removesuffix("_params") for top in tops}
    searched = tuple(
        parameter
        for parameter in parameters(search)
        if has_place(plain, parameter.path)
        and (*SPACE, parameter.name) not in wrong
        and parameter.path[0] not in spoilt
    )
    known = {_identity(diagnostic) for diagnostic in check(plain)}
    plain["epochs"] = search.optuna_epochs
    for diagnostic in check(plain):
        is_searched = _is_within(diagnostic, (other.path for other in searched))
        if _identity(diagnostic) not in known and not is_searched and diagnostic.code != "patience-too-long":
            yield _of_epochs(diagnostic, search)
        known.add(_identity(diagnostic))
    alone: set[_Identity] = set()
    paths = {parameter.path for parameter in searched}
    # Where a chooser and the table of its arguments are both searched, only both together say something.
    both = [{(name,), (f"{name}_params",)} for name in CHOOSERS]
    together = set().union(*(pair for pair in both if pair <= paths))
    for parameter in searched:
        if parameter.path in together:
            continue
        for found in _probe_alone(parameter, searched, plain, known, check):
            alone.add(_identity(found[0]))
            yield found[1]
    yield from _probe_pairs(searched, plain, known | alone, check)


def _probe_alone(
    parameter: Parameter,
    searched: tuple[Parameter, ...],
    plain: Mapping[str, Any],
    known: set[_Identity],
    check: Check,
) -> Iterator[tuple[Diagnostic, Diagnostic]]:
    """Try the values of one parameter; yield what was found, and what to say of the search space."""
    told: set[tuple[KeyPath, _Identity]] = set()
    for choices in _contexts(parameter, searched):
        tried: list[tuple[KeyPath, Any, list[Diagnostic]]] = []
        for key, value in _tried(parameter):
            chosen = choices | ({str(parameter.path[0]): value} if parameter.decides else {})
            others = _around(parameter, searched, plain, chosen)
            others |= {(name,): choice for name, choice in choices.items()}
            mistakes = [
                diagnostic
                for diagnostic in check(with_values(plain, others | {parameter.path: value}))
                if diagnostic.severity == "error"
                and _identity(diagnostic) not in known
                and not _is_within(diagnostic, others)
            ]
            tried.append((key, value, mistakes))
        everywhere = set.intersection(*({_identity(d) for d in mistakes} for _, _, mistakes in tried))
        for key, value, mistakes in tried:
            for diagnostic in mistakes:
                is_of_all = _identity(diagnostic) in everywhere and diagnostic.code != "out-of-range"
                if _is_name_unknown(diagnostic, parameter):
                    moved = _unknown(diagnostic, parameter, with_values(plain, {parameter.path: value}))
                elif is_of_all and not isinstance(parameter.space, Choices):
                    moved = _of_parameter(diagnostic, parameter, choices)
                else:
                    moved = _moved(diagnostic, parameter, key, value, choices)
                if (moved.key, _identity(diagnostic)) not in told:
                    told.add((moved.key, _identity(diagnostic)))
                    yield diagnostic, moved


def _probe_pairs(
    searched: tuple[Parameter, ...], plain: Mapping[str, Any], known: set[_Identity], check: Check
) -> Iterator[Diagnostic]:
    """Warn of choices that are right alone and wrong together: such trials would fail."""
    listed = [parameter for parameter in searched if isinstance(parameter.space, Choices)]
    left = _MOST_PAIRS
    for first, second in combinations(listed, 2):
        for (_, one), (key, other) in product(_tried(first), _tried(second)):
            left -= 1
            if left < 0:
                return
            values = {first.path: one, second.path: other}
            if second.chooser is not None and not second.is_known_to(values.get((second.chooser,))):
                continue
            for parameter, chosen in ((first, one), (second, other)):
                deciding = {str(parameter.path[0]): chosen} if parameter.decides else {}
                values = _around(parameter, searched, plain, deciding) | values
            for diagnostic in check(with_values(plain, values)):
                if diagnostic.severity == "error" and _identity(diagnostic) not in known:
                    yield Diagnostic(
                        "invalid-combination",
                        f"trials with {first.name} = {show(one)} and {second.name} = {show(other)} would "
                        f"fail: {diagnostic.message}",
                        key,
                        severity="warning",
                        help="search what may stand together, such as a table as a whole",
                        notes=(Note(f"{first.name} is searched here", (*SPACE, first.name)),),
                    )
                    break


def left_out(config: TrainingConfig) -> Iterator[Diagnostic]:
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


def _identity(diagnostic: Diagnostic) -> _Identity:
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


def _of_parameter(diagnostic: Diagnostic, parameter: Parameter, choices: Mapping[str, Any]) -> Diagnostic:
    """Say of a range what was found of both its ends."""
    if diagnostic.code == "wrong-type" and "must be " in diagnostic.message:
        wanted = diagnostic.message.rpartition("must be ")[2]
        remedy = 'type = "categorical", with the values as choices'
        if wanted.startswith("a whole number") and not isinstance(parameter.space, IntRange):
            remedy = 'type = "int"'
        elif wanted.startswith("true or false"):
            remedy = 'type = "categorical", choices = [true, false]'
        return dataclasses.replace(
            diagnostic,
            message=f'{parameter.name} is of type "{parameter.space.type}", but must be {wanted}',
            key=(*SPACE, parameter.name, "type"),
            at="value",
            help=f"write {remedy}",
            notes=(),
        )
    context = ", ".join(f"{name} = {show(choice)}" for name, choice in choices.items())
    return dataclasses.replace(
        diagnostic,
        message=(f"with {context}: " if context else "") + diagnostic.message,
        key=(*SPACE, parameter.name),
        at="key",
        called_by=(),
        notes=tuple(map(_moved_note, diagnostic.notes)),
    )


def _is_name_unknown(diagnostic: Diagnostic, parameter: Parameter) -> bool:
    return diagnostic.code == "unknown-key" and parameter.path[: len(diagnostic.key)] == diagnostic.key


def _unknown(diagnostic: Diagnostic, parameter: Parameter, changed: Mapping[str, Any]) -> Diagnostic:
    """Say of a name of the search space that it is no key, and which is probably meant."""
    path = diagnostic.key
    alone: dict[str, Any] = dict(changed)
    node: Any = alone
    for part in path[:-1]:
        node[part] = copy.copy(node[part])
        node = node[part]
    # What is meant may be set by the file, which is no reason against searching it.
    for key in [key for key in node if key not in (path[-1], "name")]:
        if node is not alone or key not in CHOOSERS:
            del node[key]
    return dataclasses.replace(
        diagnostic, key=(*SPACE, parameter.name), at="key", help=meant_key(path, alone), notes=()
    )


def _of_epochs(diagnostic: Diagnostic, search: OptunaConfig) -> Diagnostic:
    """Say of optuna_epochs what was found of a config with so many epochs."""
    return dataclasses.replace(
        diagnostic,
        message=f"in trials of {search.optuna_epochs} epochs: {diagnostic.message}",
        key=("optuna", "optuna_epochs"),
        at="value",
        called_by=(),
        help=diagnostic.help if diagnostic.severity == "error" else None,
        notes=(Note(f"{format_key(diagnostic.key)} is set here", diagnostic.key),),
    )
