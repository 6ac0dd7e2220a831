"""What the user probably meant: by a key, by a word, by a value of the wrong type."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cache
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel

from pochi_cli.config.likeness import closest
from pochi_cli.config.optim import OPTIMIZER_PARAMS, SCHEDULER_PARAMS
from pochi_cli.config.root import ROOTS, ClassificationConfig, Config, root_of
from pochi_cli.config.search import SPACES
from pochi_cli.config.steps.nested import STEPS
from pochi_cli.config.synonyms import INNER, KEYS, REMARKS, STEP_NAMES, WORDS
from pochi_cli.errors import Diagnostic, KeyPath, format_key

_PARAMS: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "optimizer_params": OPTIMIZER_PARAMS,
    "scheduler_params": SCHEDULER_PARAMS,
}

_LAYER_RATES: KeyPath = ("layer_wise_lr_config", "layer_rates")
_VALIDATION: tuple[KeyPath, ...] = (("val_split",), ("val_data_root",))
_CALLS: Mapping[tuple[str, str | int], tuple[KeyPath, ...]] = {
    ("missing-layer-rates", "enable_layer_wise_lr"): (_LAYER_RATES[:1], _LAYER_RATES),
    ("unused-key", "layer_wise_lr_config"): (("enable_layer_wise_lr",),),
    ("unused-key", "val_transform"): _VALIDATION,
    ("conflict", "early_stopping"): _VALIDATION,
    ("conflict", "scheduler_params"): (("scheduler",),),
    # The arguments were held against those of the default optimizer.
    ("unknown-key", "optimizer_params"): (("optimizer",),),
}
"""The keys that would settle a diagnostic, by its code and the first part of its key."""
_MOST_LISTED = 12


def known_keys(table: KeyPath, raw: Mapping[str, Any]) -> list[str]:
    """List the keys that a table of a config may have; none for one whose keys are the user's."""
    if not table:
        return list(root_of(raw).model_fields)
    if table[0] in _PARAMS and len(table) == 1:
        chooser = str(table[0]).removesuffix("_params")
        chosen = raw.get(chooser, root_of(raw).model_fields[chooser].default)
        return _fields(_PARAMS[str(table[0])].get(str(chosen)))
    if isinstance(table[-1], int):
        node: Any = raw
        for part in table:
            node = node[part]
        return _fields(STEPS.get(str(node.get("name")))) if isinstance(node, dict) else []
    if table[:2] == ("optuna", "search_space") and len(table) == 3:
        space = raw.get("optuna", {}).get("search_space", {}).get(table[2], {})
        return _fields(SPACES.get(str(space.get("type")))) if isinstance(space, dict) else []
    model: Any = root_of(raw)
    for part in table:
        fields = getattr(model, "model_fields", {})
        model = table_model(fields[part].annotation) if part in fields else None
    return _fields(model)


def _fields(model: Any) -> list[str]:
    return list(getattr(model, "model_fields", {}))


def table_model(annotation: Any) -> Any:
    """Find the model of a key that holds a table, perhaps an optional one; `None` for other keys."""
    forms = [form for form in get_args(annotation) or (annotation,) if form is not NoneType]
    return forms[0] if len(forms) == 1 and hasattr(forms[0], "model_fields") else None


@cache
def _homes(root: type[Config]) -> Mapping[str, tuple[KeyPath, ...]]:
    """The tables of a config that have a key of this name; the top level is the empty path."""
    homes: dict[str, list[KeyPath]] = {}
    for home, name in _tables((), root):
        homes.setdefault(name, []).append(home)
    return {name: tuple(dict.fromkeys(found)) for name, found in homes.items()}


def _tables(home: KeyPath, model: Any) -> Iterator[tuple[KeyPath, str]]:
    for name, field in model.model_fields.items():
        yield home, name
        if name in _PARAMS and not home:
            for params in _PARAMS[name].values():
                yield from _tables((name,), params)
        elif (inner := table_model(field.annotation)) is not None:
            yield from _tables((*home, name), inner)


@cache
def _tables_at_top(root: type[Config]) -> tuple[str, ...]:
    """The keys of the top level that hold a table."""
    return tuple(dict.fromkeys(str(home[0]) for homes in _homes(root).values() for home in homes if home))


@cache
def _meant(root: type[Config], table: KeyPath, key: str, known: tuple[str, ...], kind: str) -> KeyPath | None:
    """Find the key that an unknown one stands for.

    Args:
        root: The class of the config.
        table: The table that it stands in.
        key: Its name.
        known: The keys of that table.
        kind: The name of its value's type.
    """
    name = _spelt(key)
    if not table and name in REMARKS and (kind == "dict" or not _elsewhere(root, table, key)):
        return None
    if not table and kind == "dict":  # `[model]` is not `model_name`: only another table can be meant
        tables = _tables_at_top(root)
        found = KEYS.get(name) if KEYS.get(name) in tables else closest(key, tables)
        return (
            (found,)
            if found
            else next((home for home in _elsewhere(root, table, key) if len(home) > 1), None)
        )
    if inner := next((choice for choice in known if table and name in INNER.get(choice, ())), None):
        return (*table, inner)
    if homes := _elsewhere(root, table, key):
        return homes[0]
    synonym = tuple(KEYS.get(name, "").split("."))
    if not table and synonym[0]:
        return synonym
    if close := closest(key, known):
        return (*table, close)
    if table == _LAYER_RATES[:1] and kind in ("int", "float"):
        return (*_LAYER_RATES, key)
    is_step = bool(table) and isinstance(table[-1], int)
    return synonym if synonym[0] and len(synonym) == 1 and not is_step else None


def _spelt(key: str) -> str:
    return key.lower().replace("-", "_")


def _elsewhere(root: type[Config], table: KeyPath, key: str) -> list[KeyPath]:
    return [(*home, key) for home in _homes(root).get(key, ()) if home != table]


def _remedy(unknown: KeyPath, meant: KeyPath) -> str:
    """Say that a key is meant by an unknown one."""
    *home, name = meant
    if meant[:-1] == _LAYER_RATES:
        return f"patterns belong in [{format_key(_LAYER_RATES)}]"
    if meant[:-1] == unknown[:-1]:
        return f"did you mean `{name}`?"
    if name != unknown[-1]:
        return f"did you mean `{format_key(meant)}`" + ("?" if home else " of the top level?")
    if not home:
        return f"`{name}` belongs to the top level: write it above the first [table]"
    return f"it belongs to `{format_key(meant[:-1])}`: {format_key(meant)} = ..."


def meant_key(path: KeyPath, raw: Mapping[str, Any]) -> str | None:
    """Say which key was probably meant by an unknown one, or where it belongs.

    Args:
        path: The key, whose table is in the config.
        raw: The config.
    """
    table, key = path[:-1], str(path[-1])[:100]
    known = tuple(known_keys(table, raw))
    node: Any = raw
    for part in table:
        node = node[part]
    value = node.get(path[-1]) if isinstance(node, dict) else None
    if not table and _spelt(key) not in KEYS and (task := _other_task(key, root_of(raw))):
        return task
    if meant := _meant(root_of(raw), table, key, known, type(value).__name__):
        if meant[:-1] == table and isinstance(node, dict) and meant[-1] in node:
            return f"`{meant[-1]}` is probably meant, and is set already: leave this one out"
        return _remedy(path, meant)
    if table:
        return f"known here: {', '.join(sorted(known))}" if 0 < len(known) <= _MOST_LISTED else None
    if remark := REMARKS.get(_spelt(key)):
        return remark
    if isinstance(value, dict):
        return f"keys of the top level stand above all tables; there is no [{format_key((key,))}]"
    return "`pochi schema --format markdown` lists all keys"


def _other_task(key: str, root: type[Config]) -> str | None:
    """Say that a key of the top level belongs to a config of another task."""
    task = next(
        (
            task
            for task, other in ROOTS.items()
            if key in other.model_fields.keys() - root.model_fields.keys()
        ),
        None,
    )
    if task is None:
        return None
    if root is ClassificationConfig:
        return f'it belongs to a config with task = "{task}"'
    return f'it belongs to a config with task = "{task}", and this one has another'


def misspelt_name(step: Mapping[str, Any]) -> str | None:
    """Find the key of a step that was probably meant as its `name`.

    Args:
        step: A step without `name`.

    Returns:
        The key; `None` if there is none.
    """
    words = [key for key, value in step.items() if isinstance(value, str)]
    named = (key for key in words if closest(key, ["name"]))
    return next(named, None) or next((key for key in words if key.lower() in STEP_NAMES), None)


def meant_word(word: str, choices: list[str], others: list[str]) -> str:
    """Say which word was probably meant, and which are allowed.

    Args:
        word: The unknown word.
        choices: The words that are allowed.
        others: What is allowed beside words, such as `a number`.
    """
    listed = "allowed: " + ", ".join([*(f'"{choice}"' for choice in choices), *others])
    # As code writes it: `transforms.Resize(224)`.
    bare = word[:100].partition("(")[0].rpartition(".")[2].strip()
    said = [words.get(bare.lower()) for anchor, words in WORDS.items() if anchor in choices]
    close = next((meant for meant in said if meant is not None), None)
    if close is None:
        close = closest(bare, choices)
    if close and close not in choices:
        return close
    if not close:
        return listed
    return f'did you mean "{close}"?' + ("" if len(choices) > _MOST_LISTED else f" {listed}")


def fold_misspelt(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Tell a misspelt or misplaced key once: drop what is only said because it is not where it belongs."""
    asked = [(other, wanted) for other in diagnostics for wanted in _asked_for(other)]
    dropped: set[int] = set()
    remedies: dict[int, str] = {}
    for diagnostic in diagnostics:
        if diagnostic.code != "unknown-key":
            continue
        settled = [(other, wanted) for other, wanted in asked if _stands_for(diagnostic, wanted)]
        exact = [other for other, wanted in settled if other.key == wanted and other.code == "missing-key"]
        # Of two keys that stand for the same missing one, the first is told to be it.
        if any(id(other) not in dropped for other in exact):
            there = "" if exact[0].key[:-1] == diagnostic.key[:-1] else " there"
            remedies[id(diagnostic)] = f"{diagnostic.help} (required, and missing{there})"
        dropped.update(id(other) for other, _ in settled)
    return [
        dataclasses.replace(diagnostic, help=remedies.get(id(diagnostic), diagnostic.help))
        for diagnostic in diagnostics
        if id(diagnostic) not in dropped
    ]


def _asked_for(diagnostic: Diagnostic) -> tuple[KeyPath, ...]:
    """List the keys that would settle a diagnostic if they were there."""
    key = diagnostic.key
    if diagnostic.code == "missing-key":
        return tuple(key[:end] for end in range(1, len(key) + 1))
    return _CALLS.get((diagnostic.code, key[0]), ()) if key else ()


def _stands_for(unknown: Diagnostic, wanted: KeyPath) -> bool:
    """Tell whether an unknown key was said to mean the wanted one, or a pattern that belongs there."""
    meant = [wanted, (*wanted, unknown.key[-1])] if wanted == _LAYER_RATES else [wanted]
    return any(unknown.help == _remedy(unknown.key, path) for path in meant)
