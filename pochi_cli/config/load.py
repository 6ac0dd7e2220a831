"""From a TOML file and `--set` arguments to a validated config, or to every mistake in it."""

from __future__ import annotations

import copy
import dataclasses
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pochi_cli.config.messages import diagnose, fold_misspelt, known_keys
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.rules import RULES
from pochi_cli.errors import ConfigError, Diagnostic, KeyPath, Span, format_key

# Values that stand in for required keys that are missing or wrong, so that the rules on other keys run.
_STAND_INS: dict[str, Any] = {
    "epochs": 1_000_000,
    "learning_rate": 0.1,
    "train_transform": [{"name": "ToTensor"}],
}

# The first key of a pair decides what the second may hold: when one must be left out, so must the other.
_PAIRS = (frozenset({"optimizer", "optimizer_params"}), frozenset({"scheduler", "scheduler_params"}))

_DEEPEST = 30
"""Levels of arrays and tables that a value may have; the deepest sensible one is a nested transform."""


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> ClassificationConfig:
    """Read and validate a config.

    Args:
        path: TOML file.
        overrides: `key=value` arguments that replace keys of the file.

    Raises:
        ConfigError: With every mistake found.
    """
    path = Path(path)
    raw = read_toml(path)
    diagnostics: list[Diagnostic] = []
    for override in overrides:
        try:
            apply_override(raw, override)
        except ConfigError as error:
            diagnostics.extend(error.diagnostics)
    try:
        config = validate(raw, source=str(path))
    except ConfigError as error:
        diagnostics.extend(error.diagnostics)
    if diagnostics:
        raise ConfigError(diagnostics)
    return config


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: `unreadable-file` or `invalid-toml`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise _unreadable(path, "there is no such file") from None
    except IsADirectoryError:
        raise _unreadable(path, "this is a directory") from None
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
    except RecursionError:
        message = "arrays or tables are nested too deeply"
    except ValueError:  # the only other one: Python reads integers up to 4,300 digits
        message = "an integer has too many digits"
    raise ConfigError([Diagnostic("invalid-toml", message, span=Span(str(path)))])


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError([Diagnostic("unreadable-file", f"cannot read {path}: {why}", span=Span(str(path)))])


def apply_override(raw: dict[str, Any], argument: str) -> None:
    """Set one key of a raw config from a `key=value` argument.

    The key may be dotted. The value is TOML; a bare word that is no TOML value is a string.

    Raises:
        ConfigError: The argument is not of this form, or the key leads through a value that is no table.
    """
    path, value = parse_override(argument)
    table: Any = raw
    for position, part in enumerate(path[:-1]):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise _bad_override(argument, f"`{format_key(path[: position + 1])}` is not a table")
    table[path[-1]] = value


def parse_override(argument: str) -> tuple[tuple[str, ...], Any]:
    """Split a `key=value` argument into its key path and its value.

    Raises:
        ConfigError: The argument is not of this form.
    """
    key, separator, text = argument.partition("=")
    if not separator or not key.strip():
        raise _bad_override(argument, "it has no `=`" if not separator else "the key is empty")
    # A quoted key may hold `=`: then the first one is not the separator.
    while (path := _key_path(key)) is None and "=" in text:
        more, _, text = text.partition("=")
        key += "=" + more
    if path is None:
        raise _bad_override(argument, "the part before `=` is not a TOML key")
    return path, _toml_value(text.strip())


def _key_path(key: str) -> tuple[str, ...] | None:
    try:
        node: Any = tomllib.loads(f"{key.strip()} = 0") if "\n" not in key else None
    except (ValueError, RecursionError):
        return None
    path: list[str] = []
    while isinstance(node, dict) and len(node) == 1:
        part, node = next(iter(node.items()))
        path.append(part)
    return tuple(path) if path and node == 0 else None


def _toml_value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
        # Not TOML when a comment or a second key follows the value: nothing is cut off unseen.
        tomllib.loads(f"value = [{text}]")
    except (ValueError, RecursionError):
        return text
    return table["value"]


def _bad_override(argument: str, why: str) -> ConfigError:
    return ConfigError(
        [
            Diagnostic(
                "invalid-set",
                f"cannot apply --set {argument}: {why}",
                help="write --set key=value, such as --set learning_rate=0.01",
                span=Span("--set"),
            )
        ]
    )


def validate(raw: Mapping[str, Any], source: str | None = None) -> ClassificationConfig:
    """Validate a raw config.

    Args:
        raw: What the TOML parser returned.
        source: Where it came from, for the diagnostics.

    Raises:
        ConfigError: With every mistake found, those of the cross-field rules included.
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
        invalid.update(_invalid_part(diagnostic, usable) for diagnostic in found)
        config = _salvage(usable, invalid)
    for rule in RULES:
        if not any(key[: len(path)] == path for path in invalid for key in rule.keys):
            diagnostics.extend(rule.check(config))
    if diagnostics:
        order = {key: position for position, key in enumerate(raw)}
        diagnostics = sorted(fold_misspelt(diagnostics), key=lambda d: _position(d.key, order))
        span = None if source is None else Span(source)
        raise ConfigError([dataclasses.replace(diagnostic, span=span) for diagnostic in diagnostics])
    return config


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
        spoilt = {str(line["loc"][0]) for line in error.errors()}
        spoilt = spoilt.union(*(pair for pair in _PAIRS if pair & spoilt))
        invalid.update((key,) for key in spoilt)
        kept = {key: value for key, value in kept.items() if key not in spoilt}
        return ClassificationConfig.model_validate(_STAND_INS | kept)


def _remove(node: Any, path: KeyPath) -> None:
    for part in path[:-1]:
        if isinstance(node, dict) and part not in node:
            return
        node = node[part]
    node.pop(path[-1], None)


def _position(key: KeyPath, order: Mapping[str, int]) -> int:
    return order.get(str(key[0]), -1) if key else -1
