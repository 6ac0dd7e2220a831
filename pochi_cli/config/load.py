"""From a TOML file and `--set` arguments to a validated config, or to every mistake in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pochi_cli.config.conflicts import CONFLICTS
from pochi_cli.config.document import Document, read_document
from pochi_cli.config.doubts import DOUBTS, IMAGE_DOUBTS
from pochi_cli.config.embedding_rules import EMBEDDING_RULES
from pochi_cli.config.image_sizes import SIZE_RULES
from pochi_cli.config.layer_rules import LAYER_RULES
from pochi_cli.config.messages import MOST, diagnose
from pochi_cli.config.optim_rules import OPTIM_RULES
from pochi_cli.config.pipeline_doubts import PIPELINE_DOUBTS
from pochi_cli.config.root import Config, root_of
from pochi_cli.config.salvage import invalid_parts, salvage, stand_ins, with_meant_names
from pochi_cli.config.search_probes import left_out, probe
from pochi_cli.config.search_rules import SEARCH_RULES
from pochi_cli.config.suggestions import fold_misspelt
from pochi_cli.config.tracking_rules import TRACKING_RULES
from pochi_cli.errors import ConfigError, Diagnostic, KeyPath

_DEEPEST = 30
"""Levels of arrays and tables that a value may have; the deepest sensible one is a nested transform."""


_ALL_RULES = (
    CONFLICTS,
    EMBEDDING_RULES,
    OPTIM_RULES,
    LAYER_RULES,
    TRACKING_RULES,
    DOUBTS,
    IMAGE_DOUBTS,
    PIPELINE_DOUBTS,
    SIZE_RULES,
    SEARCH_RULES,
)


@dataclass(frozen=True)
class Checked:
    """What was found out about a config.

    Attributes:
        config: The config; `None` if there is an error.
        diagnostics: Every mistake and doubt, in the order of the file.
    """

    config: Config | None
    diagnostics: tuple[Diagnostic, ...]

    def valid(self) -> Config:
        """Give the config.

        Raises:
            ConfigError: It has errors.
        """
        if self.config is None:
            raise ConfigError(self.diagnostics)
        return self.config


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
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
    told: list[Diagnostic] = []
    refused = document.place(document.refused)
    for diagnostic in document.place(checked.diagnostics):
        is_settled = any(diagnostic.key[: len(path)] == path for path in document.settled)
        if diagnostic.code == "unknown-key" or not is_settled:
            told.append(diagnostic)
        elif diagnostic.code == "unknown-value":  # quotes alone do not make it right
            refused = [_with_help_of(diagnostic, earlier) for earlier in refused]
    return Checked(config, tuple(document.place([*told, *refused])))


def _with_help_of(diagnostic: Diagnostic, refused: Diagnostic) -> Diagnostic:
    """Add to what the parser's mistake needs what its value needs, if both are of one place."""
    if str(diagnostic.span) != str(refused.span) or diagnostic.help is None:
        return refused
    return dataclasses.replace(refused, help=f"{refused.help}; {diagnostic.help}")


def validate(raw: Mapping[str, Any]) -> Config:
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
    usable |= {key: value for key, value in stand_ins(raw).items() if (key,) in invalid}
    config, found = _validated(usable)
    if found:
        meant = with_meant_names(usable, found)
        told = {diagnostic.key for diagnostic in found}
        found += [diagnostic for diagnostic in _validated(meant)[1] if diagnostic.key not in told]
        diagnostics.extend(found)
        invalid |= invalid_parts(meant, found)
        config = salvage(meant, invalid)
    assert config is not None  # valid, or salvaged
    for rules in _ALL_RULES:
        for found_by_rule in rules.findings(config, invalid):
            diagnostics.extend(d for d in _first(found_by_rule) if d.key not in invalid)
    if config.optuna is not None:
        wrong = {diagnostic.key for diagnostic in diagnostics if diagnostic.severity == "error"}
        diagnostics.extend(left_out(config))
        diagnostics.extend(probe(config, wrong - {()}, lambda raw: check(raw).diagnostics))
    diagnostics = fold_misspelt(diagnostics)
    is_valid = all(diagnostic.severity == "warning" for diagnostic in diagnostics)
    return Checked(config if is_valid else None, tuple(diagnostics))


def _validated(raw: Mapping[str, Any]) -> tuple[Config | None, list[Diagnostic]]:
    try:
        return root_of(raw).model_validate(raw), []
    except ValidationError as error:
        return None, diagnose(error, raw)


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
