"""`key=value` arguments, which replace keys of a config."""

from __future__ import annotations

import textwrap
import tomllib
from dataclasses import dataclass
from typing import Any

from pochi_cli.config.spans import SourceText, TomlIndex
from pochi_cli.errors import ConfigError, Diagnostic, KeyPath, Span, format_key

SOURCE = "--set"


@dataclass(frozen=True)
class Override:
    """One `key=value` argument.

    Attributes:
        text: The argument.
        number: Which argument it is, from 1; it counts as a line of `--set`.
        path: The key.
        value: The value.
        equals: Where in the text the `=` stands.
    """

    text: str
    number: int
    path: tuple[str, ...]
    value: Any
    equals: int

    def key_span(self, path: KeyPath) -> Span | None:
        """Place of the key that the argument sets, or of one that its value holds."""
        if len(path) > len(self.path):
            return self._shifted(self._inside.key(path))
        return self._span(0, self.equals)

    def value_span(self, path: KeyPath) -> Span | None:
        """Place of the value that the argument sets, or of one that it holds."""
        if len(path) > len(self.path):
            return self._shifted(self._inside.value(path))
        return self._span(self.equals + 1, len(self.text))

    @property
    def _inside(self) -> TomlIndex:
        return TomlIndex(SourceText(self.text, SOURCE))

    def _span(self, start: int, end: int) -> Span:
        while start < end and self.text[start].isspace():
            start += 1
        while end > start and self.text[end - 1].isspace():
            end -= 1
        return _span(self.text, self.number, start, end)

    def _shifted(self, span: Span | None) -> Span | None:
        """Count columns in the whole argument, which may have line ends."""
        if span is None or span.line is None or span.column is None:
            return None
        text = SourceText(self.text, SOURCE)
        start = text.offset(span.line, span.column)
        return self._span(start, text.offset(span.end_line or span.line, span.end_column or span.column))


def _span(text: str, number: int, start: int, end: int) -> Span:
    """Make a span of an argument, all of which counts as one line."""
    return Span(SOURCE, number, start + 1, number, end + 1, text)


def parse_override(argument: str, number: int = 1) -> Override:
    """Split a `key=value` argument into its key and its value.

    The key may be dotted. The value is TOML; a bare word that is no TOML value is a string.

    Args:
        argument: The argument.
        number: Which argument it is, from 1.

    Raises:
        ConfigError: The argument is not of this form.
    """
    key, separator, text = argument.partition("=")
    if not separator or not key.strip():
        raise _refused(argument, number, "it has no `=`" if not separator else "the key is empty")
    # A quoted key may hold `=`: then the first one is not the separator.
    while (path := _key_path(key)) is None and "=" in text:
        more, _, text = text.partition("=")
        key += "=" + more
    if path is None:
        raise _refused(argument, number, "the part before `=` is not a TOML key")
    value = _toml_value(text.strip())
    if value == text.strip() and value[:1] in ("[", "{", '"', "'"):
        raise _refused(argument, number, "its value begins like TOML, but is not complete")
    return Override(argument, number, path, value, len(key))


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


def apply_override(raw: dict[str, Any], override: Override) -> None:
    """Set one key of a raw config.

    Raises:
        ConfigError: The key leads through a value that is no table.
    """
    table: Any = raw
    for position, part in enumerate(override.path[:-1]):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            name = format_key(override.path[: position + 1])
            raise _refused(override.text, override.number, f"`{name}` is not a table")
    table[override.path[-1]] = override.value


def _refused(argument: str, number: int, why: str) -> ConfigError:
    return ConfigError(
        [
            Diagnostic(
                "invalid-set",
                f"cannot apply --set {textwrap.shorten(argument, 60, placeholder='...')}: {why}",
                help="write --set key=value, such as --set learning_rate=0.01",
                span=_span(argument, number, 0, len(argument)),
            )
        ]
    )
