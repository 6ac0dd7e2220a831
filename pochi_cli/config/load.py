"""From a TOML file and `--set` arguments to a validated config, or to every mistake in it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pochi_cli.config.conflicts import CONFLICTS
from pochi_cli.config.document import Document, read_document
from pochi_cli.config.doubts import DOUBTS
from pochi_cli.config.layer_rules import LAYER_RULES
from pochi_cli.config.messages import MOST, diagnose
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.suggestions import fold_misspelt, known_keys
from pochi_cli.errors import ConfigError, Diagnostic, KeyPath

# Values that stand in for required keys that are missing or wrong, so that the rules on other keys run.
_STAND_INS: dict[str, Any] = {
    "epochs": 1_000_000,
    "learning_rate": 0.1,
    "train_transform": [{"name": "ToTensor"}],
}
_NEUTRAL_STEP = {"name": "Grayscale"}
"""Stands in for a step whose required argument is wrong."""

# The first key of a pair decides what the second may hold: when one must be left out, so must the other.
_PAIRS = (frozenset({"optimizer", "optimizer_params"}), frozenset({"scheduler", "scheduler_params"}))

_DEEPEST = 30
"""Levels of arrays and tables that a value may have; the deepest sensible one is a nested transform."""


@dataclass(frozen=True)
class Checked:
    """What was found out about a config.

    Attributes:
        config: The config; `None` if there is an error.
        diagnostics: Every mistake and doubt, in the order of the file.
    """

    config: ClassificationConfig | None
    diagnostics: tuple[Diagnostic, ...]

    def valid(self) -> ClassificationConfig:
        """Give the config.

        Raises:
            ConfigError: It has errors.
        """
        if self.config is None:
            raise ConfigError(self.diagnostics)
        return self.config


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> ClassificationConfig:
    """Read and validate a config.

    Args:
        path: TOML file.
        overrides: `key=value` arguments that replace keys of the file.

    Raises:
        ConfigError: With every mistake found.
    """
    return check_document(read_document(Path(path), overrides)).valid()


def check_document(document: Document) -> Checked:
    """Find every mistake and doubt in a config, each with its place."""
    checked = check(document.raw)
    config = None if document.refused else checked.config
    told = [
        diagnostic
        for diagnostic in checked.diagnostics
        if diagnostic.code == "unknown-key"
        or not any(diagnostic.key[: len(path)] == path for path in document.settled)
    ]
    return Checked(config, tuple(document.place([*told, *document.refused])))


def validate(raw: Mapping[str, Any]) -> ClassificationConfig:
    """Validate a raw config.

    Args:
        raw: What the TOML parser returned.

    Raises:
        ConfigError: With every mistake found, those of the cross-field rules included.
    """
    return check(raw).valid()


def check(raw: Mapping[str, Any]) -> Checked:
    """Find every mistake and doubt in a raw config; those of the cross-field rules included.

    Args:
        raw: What the TOML parser returned.
    """
    diagnostics = list(_beyond_toml(raw))
    invalid: set[KeyPath] = {diagnostic.key for diagnostic in diagnostics}
    usable = {key: value for key, value in raw.items() if (key,) not in invalid}
    usable |= {key: value for key, value in _STAND_INS.items() if (key,) in invalid}
    try:
        config = ClassificationConfig.model_validate(usable)
    except ValidationError as error:
        found = diagnose(error, usable)
        diagnostics.extend(found)
        invalid.update(_invalid_part(diagnostic, usable) for diagnostic in found if diagnostic.key)
        config = _salvage(usable, invalid)
    for rule in (*CONFLICTS, *LAYER_RULES, *DOUBTS):
        if not any(key[: len(path)] == path for path in invalid for key in rule.keys):
            diagnostics.extend(_first(rule.check(config)))
    diagnostics = fold_misspelt(diagnostics)
    is_valid = all(diagnostic.severity == "warning" for diagnostic in diagnostics)
    return Checked(config if is_valid else None, tuple(diagnostics))


def _first(diagnostics: Iterator[Diagnostic]) -> Iterator[Diagnostic]:
    yield from islice(diagnostics, MOST)
    if next(diagnostics, None):
        yield Diagnostic("too-many-errors", "more mistakes of the same kind are not shown")


def _beyond_toml(raw: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Report what the parser takes but nothing else would: extreme nesting, integers beyond 64 bits."""
    for key, top in raw.items():
        level = [top]
        for _ in range(_DEEPEST):
            if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in level):
                yield Diagnostic("out-of-range", f"{key} holds an integer of more than 64 bits", (key,))
                break
            inner = [value.values() if isinstance(value, dict) else value for value in level if _nests(value)]
            level = [value for values in inner for value in values]
        else:
            if level:
                yield Diagnostic("wrong-type", f"{key} is nested too deeply (over {_DEEPEST} levels)", (key,))


def _nests(value: Any) -> bool:
    return isinstance(value, dict | list)


def _invalid_part(diagnostic: Diagnostic, raw: Mapping[str, Any]) -> KeyPath:
    """Find the smallest part that can be left out: a key that the config knows, or an unknown one."""
    key = diagnostic.key
    if diagnostic.code == "unknown-key":
        return key
    ends = (end for end in range(len(key), 0, -1) if key[end - 1] in known_keys(key[: end - 1], raw))
    return key[: next(ends, 1)]


def _salvage(raw: Mapping[str, Any], invalid: set[KeyPath]) -> ClassificationConfig:
    """Validate what is left of a config without its invalid parts, with stand-ins for required keys.

    Args:
        raw: The config.
        invalid: The parts to leave out; keys that cannot do without theirs are added.
    """
    kept = copy.deepcopy(dict(raw))
    for path in invalid:
        _remove(kept, path)
    try:
        return ClassificationConfig.model_validate(_STAND_INS | kept)
    except ValidationError as error:
        spoilt = {line["loc"] for line in error.errors()}
    for loc in spoilt:
        # A step that lacks a required argument now: the rules on its pipeline need the other steps.
        if loc[0] in ("train_transform", "val_transform") and len(loc) > 2 and isinstance(loc[1], int):
            kept[loc[0]][loc[1]] = _NEUTRAL_STEP
    try:
        return ClassificationConfig.model_validate(_STAND_INS | kept)
    except ValidationError as error:
        keys = {str(line["loc"][0]) for line in error.errors()}
    keys = keys.union(*(pair for pair in _PAIRS if pair & keys))
    invalid.update((key,) for key in keys)
    kept = {key: value for key, value in kept.items() if key not in keys}
    return ClassificationConfig.model_validate(_STAND_INS | kept)


def _remove(node: Any, path: KeyPath) -> None:
    for part in path[:-1]:
        if isinstance(node, dict) and part not in node:
            return
        node = node[part]
    node.pop(path[-1], None)
