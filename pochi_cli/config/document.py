"""A config as it was written, so that what is said of a key can be said of its place."""

from __future__ import annotations

import codecs
import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from pochi_cli.config.overrides import SOURCE, Override, apply_override, parse_override
from pochi_cli.config.parsing import ABSENT, UNSURE, parse
from pochi_cli.config.spans import SourceText, TomlIndex
from pochi_cli.errors import ConfigError, DataError, Diagnostic, KeyPath, Note, Span

_LARGEST = 1_000_000
"""Bytes; a weight for each of 21,841 classes takes a fifth of it."""


class Document:
    """A TOML text and the `--set` arguments that replace some of its keys.

    Args:
        text: The text.
        overrides: `key=value` arguments.

    Attributes:
        raw: The contents, with the arguments applied.
        refused: What is wrong with the text as TOML, and with arguments, which are then not applied.
        settled: The keys of which that says enough.

    Raises:
        ConfigError: The text is no TOML, and nothing can be said of its contents.
    """

    def __init__(self, text: SourceText, overrides: Iterable[str] = ()) -> None:
        self._text = text
        self._overrides, self.refused = _parsed(overrides)
        try:
            parsed = parse(text)
        except ConfigError as error:
            raise ConfigError(sorted([*error.diagnostics, *self.refused], key=_order)) from None
        self._accepted = parsed.text
        self.raw = parsed.raw
        self.refused += parsed.diagnostics
        places = [
            self._index.path_over(value.start) if value.meant is UNSURE else self._index.value_at(value.start)
            for value in parsed.values
        ]
        if None in places:  # what was mended is no value after all: what the rest means is not plain
            raise ConfigError(sorted(self.refused, key=_order))
        self.settled = tuple(
            self._settle(path, value.meant) for path, value in zip(places, parsed.values, strict=True) if path
        )
        for override in list(self._overrides):
            try:
                apply_override(self.raw, override)
            except ConfigError as error:
                self._overrides.remove(override)
                self.refused.extend(error.diagnostics)

    @property
    def path(self) -> str:
        """The file, as it was named."""
        return self._text.source

    @cached_property
    def _index(self) -> TomlIndex:
        return TomlIndex(self._text, self._accepted)

    def _settle(self, path: KeyPath, meant: Any) -> KeyPath:
        """Put what a refused value means in its place, as far as that is possible; return its key."""
        *parents, key = path
        node: Any = self.raw
        for part in parents:
            node = node[part]
        if meant is UNSURE:
            return path
        if meant is not ABSENT:
            node[key] = meant
        elif isinstance(node, dict):
            del node[key]
        else:  # an entry of an array: of the others nothing can be said without it
            return tuple(parents)
        return path

    def place(self, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
        """Give diagnostics and their notes the places of their keys, and sort them by these."""
        placed = [
            dataclasses.replace(
                diagnostic,
                span=diagnostic.span or self._locate(diagnostic),
                notes=tuple(self._place_notes(diagnostic.notes)),
            )
            for diagnostic in diagnostics
        ]
        return sorted(placed, key=_order)

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Place the diagnostics of an error that is raised inside."""
        try:
            yield
        except (ConfigError, DataError) as error:
            error.diagnostics = tuple(self.place(error.diagnostics))
            raise

    def _place_notes(self, notes: Iterable[Note]) -> Iterator[Note]:
        """Give notes their places; one on a key that has its default has none, and nothing to tell."""
        for note in notes:
            span = note.span or (self._find(note.key, "value") if note.key else None)
            if span or not note.key:
                yield dataclasses.replace(note, span=span)

    def _locate(self, diagnostic: Diagnostic) -> Span:
        path = diagnostic.key
        if found := self._find(path, diagnostic.at):
            return found
        if diagnostic.called_by and (found := self._find(diagnostic.called_by, "value")):
            return found
        # The key is missing: the innermost table that is there, else the beginning of the file.
        for end in range(len(path) - 1, 0, -1):
            if found := self._find(path[:end], "value"):
                return found
        return Span(self.path, 1, 1, 1, 1)

    def _find(self, path: KeyPath, at: str) -> Span | None:
        for override in reversed(self._overrides):
            if path[: len(override.path)] == override.path:
                return override.key_span(path) if at == "key" else override.value_span(path)
        if found := self._index.key(path) if at == "key" else self._index.value(path):
            return found
        # A table that only arguments made.
        inside = (override for override in self._overrides if override.path[: len(path)] == path)
        return next((override.key_span(path) for override in inside if path), None)


def _order(diagnostic: Diagnostic) -> tuple[bool, bool, int, int]:
    """The file's before the arguments', each by its place; that some are not shown comes last."""
    span = diagnostic.span or Span("")
    is_last = diagnostic.code == "too-many-errors"
    return is_last, span.source == SOURCE, span.line or 0, span.column or 0


def _parsed(overrides: Iterable[str]) -> tuple[list[Override], list[Diagnostic]]:
    parsed: list[Override] = []
    refused: list[Diagnostic] = []
    for number, argument in enumerate(overrides, 1):
        try:
            parsed.append(parse_override(argument, number))
        except ConfigError as error:
            refused.extend(error.diagnostics)
    return parsed, refused


def read_document(path: Path, overrides: Iterable[str] = ()) -> Document:
    """Read a TOML file.

    Args:
        path: The file.
        overrides: `key=value` arguments that replace keys of the file.

    Raises:
        ConfigError: The file cannot be read, or is no TOML; with what is wrong with the arguments.
    """
    overrides = list(overrides)
    try:
        text = SourceText(_read(path), str(path))
    except ConfigError as error:
        raise ConfigError([*error.diagnostics, *_parsed(overrides)[1]]) from None
    return Document(text, overrides)


def _read(path: Path) -> str:
    """Read a file's text, with line ends of one character as the parser takes them.

    Raises:
        ConfigError: `unreadable-file`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise _unreadable(path, "there is no such file", _nearby(path)) from None
    except IsADirectoryError:
        raise _unreadable(path, "this is a directory", "name a TOML file") from None
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    if len(content) > _LARGEST:
        raise _unreadable(path, f"it has more than {_LARGEST:,} bytes", "a config is a text of a few kB")
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = SourceText(content[: error.start].decode(), str(path))
        place = before.span(len(before.text), len(before.text))
        why = f"it is not UTF-8 text (byte 0x{content[error.start]:02x})"
        raise _unreadable(path, why, "save it in the encoding UTF-8", place) from None
    return text.replace("\r\n", "\n")


def _nearby(path: Path) -> str | None:
    """Suggest the TOML file beside it whose name is closest."""
    import difflib

    names = [entry.name for entry in path.parent.glob("*.toml")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else None


def _unreadable(path: Path, why: str, remedy: str | None = None, span: Span | None = None) -> ConfigError:
    message = f"cannot read {path}: {why}"
    return ConfigError([Diagnostic("unreadable-file", message, help=remedy, span=span or Span(str(path)))])
