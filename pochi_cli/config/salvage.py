"""What is left of a config without its mistakes, so that the rules on the rest can be checked."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from pochi_cli.config.likeness import closest
from pochi_cli.config.optim import OPTIMIZER_PARAMS, SCHEDULER_PARAMS
from pochi_cli.config.root import ClassificationConfig, Config, EmbeddingConfig, root_of
from pochi_cli.config.search import SPACES
from pochi_cli.config.steps.nested import STEPS
from pochi_cli.config.suggestions import known_keys
from pochi_cli.errors import Diagnostic, KeyPath

_STAND_INS: Mapping[type[Config], dict[str, Any]] = {
    ClassificationConfig: {
        "epochs": 1_000_000,
        "learning_rate": 0.1,
        "train_transform": [{"name": "ToTensor"}],
    },
    EmbeddingConfig: {"task": "embedding", "train_vectors": "vectors.npy"},
}
"""Values for required keys that are missing or wrong."""

_PIPELINES = ("train_transform", "val_transform")
_NEUTRAL_STEP = {"name": "Grayscale"}
"""Stands in for a step whose required argument is wrong."""

# The first key of a pair decides what the second may hold: when one must be left out, so must the other.
_PAIRS = (frozenset({"optimizer", "optimizer_params"}), frozenset({"scheduler", "scheduler_params"}))

_LAYER_RATES = ("layer_wise_lr_config", "layer_rates")
_SEARCH_SPACE = ("optuna", "search_space")
_BY_ENTRY = frozenset({("class_weights",), ("freeze",), _LAYER_RATES})
"""Arrays and tables of which single entries can be left out."""


def stand_ins(raw: Mapping[str, Any]) -> dict[str, Any]:
    """List values for the keys that a config of its task cannot do without."""
    return _STAND_INS[root_of(raw)]


def with_meant_names(raw: Mapping[str, Any], diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    """Replace unknown names of optimizers, schedulers, steps and ranges by those that are probably meant.

    Their arguments can then be checked, too.

    Args:
        raw: The config.
        diagnostics: What is wrong with it.
    """
    meant = copy.deepcopy(dict(raw))
    for diagnostic in diagnostics:
        names = _names(diagnostic.key) if diagnostic.code == "unknown-value" else ()
        if not names:
            continue
        *parents, last = diagnostic.key
        node: Any = meant
        for part in parents:
            node = node[part]
        if name := closest(str(node[last]), names):
            node[last] = name
    return meant


def _names(key: KeyPath) -> Iterable[str]:
    if key == ("optimizer",):
        return OPTIMIZER_PARAMS
    if key == ("scheduler",):
        return SCHEDULER_PARAMS
    if key[:2] == _SEARCH_SPACE and key[3:] == ("type",):
        return SPACES
    return STEPS if key[0] in _PIPELINES and key[-1] == "name" else ()


def invalid_parts(raw: Mapping[str, Any], diagnostics: Iterable[Diagnostic]) -> set[KeyPath]:
    """Find what has to be left out: the smallest parts that can be.

    Args:
        raw: The config, with meant names.
        diagnostics: What is wrong with it.
    """
    return {
        _invalid_part(diagnostic, raw)
        for diagnostic in diagnostics
        if diagnostic.key and not _is_mended(diagnostic, raw)
    }


def _is_mended(diagnostic: Diagnostic, raw: Mapping[str, Any]) -> bool:
    if diagnostic.code != "unknown-value":
        return False
    node: Any = raw
    for part in diagnostic.key:
        node = node[part]
    return node in _names(diagnostic.key)


def _invalid_part(diagnostic: Diagnostic, raw: Mapping[str, Any]) -> KeyPath:
    key = diagnostic.key
    if diagnostic.code == "unknown-key" or key[:-1] in _BY_ENTRY:
        return key
    if key[:2] == _SEARCH_SPACE and len(key) > 2:
        return key[:3]
    ends = (end for end in range(len(key), 0, -1) if key[end - 1] in known_keys(key[: end - 1], raw))
    return key[: next(ends, 1)]


def salvage(raw: Mapping[str, Any], invalid: set[KeyPath]) -> Config:
    """Validate what is left of a config without its invalid parts, with stand-ins for required keys.

    Args:
        raw: The config.
        invalid: The parts to leave out; keys that cannot do without theirs are added.
    """
    root, kept = root_of(raw), copy.deepcopy(dict(raw))
    for path in sorted(invalid, key=str):
        _leave_out(kept, path, invalid)
    try:
        return root.model_validate(stand_ins(raw) | kept)
    except ValidationError as error:
        spoilt = {line["loc"] for line in error.errors()}
    for loc in spoilt:
        # A step that lacks a required argument now: the rules on its pipeline need the other steps.
        if loc[0] in _PIPELINES and len(loc) > 2 and isinstance(loc[1], int):
            kept[loc[0]][loc[1]] = _NEUTRAL_STEP
    try:
        return root.model_validate(stand_ins(raw) | kept)
    except ValidationError as error:
        keys = {str(line["loc"][0]) for line in error.errors()}
    keys = keys.union(*(pair for pair in _PAIRS if pair & keys))
    invalid.update((key,) for key in keys)
    kept = {key: value for key, value in kept.items() if key not in keys}
    return root.model_validate(stand_ins(raw) | kept)


def _leave_out(node: Any, path: KeyPath, invalid: set[KeyPath]) -> None:
    *parents, last = path
    for part in parents:
        if isinstance(node, dict) and part not in node:
            return
        node = node[part]
    if isinstance(node, dict):
        node.pop(last, None)
        if path[:-1] == _LAYER_RATES and not node:
            invalid.add(_LAYER_RATES)  # or they would be said to be missing
    elif isinstance(last, int):
        node[last] = _other_entry(node, path, invalid)  # the places of the others must stay


def _other_entry(array: list[Any], path: KeyPath, invalid: set[KeyPath]) -> Any:
    """Find a valid entry of the same array; what rules say of it is not told at this place."""
    if path[0] == "class_weights":
        return 1.0
    valid = (entry for i, entry in enumerate(array) if (*path[:-1], i) not in invalid)
    found = next(valid, None)
    if found is None:
        invalid.add(path[:-1])
    return found
