"""An old config's text: read, parsed, never run."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pochi_cli.errors import ConfigError, Diagnostic, Span

_LARGEST = 1_000_000
"""Bytes; a config has a few thousand."""

_SHORT = 76
"""Characters of source text that a comment quotes."""


class Node(Protocol):
    """What has a place: a statement or an expression."""

    @property
    def lineno(self) -> int: ...  # noqa: D102
    @property
    def col_offset(self) -> int: ...  # noqa: D102
    @property
    def end_lineno(self) -> int | None: ...  # noqa: D102
    @property
    def end_col_offset(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True)
class Source:
    """A Python file's text and syntax tree.

    Attributes:
        name: Its path.
        lines: Without their ends.
        tree: The statements.
        comments: The comment that ends or fills each line that has one, with its `#`.
    """

    name: str
    lines: tuple[str, ...]
    tree: ast.Module
    comments: dict[int, str] = field(default_factory=dict)

    def span(self, node: Node) -> Span:
        """Find a node's place in characters; the syntax tree counts the bytes of UTF-8."""
        end_line = node.end_lineno or node.lineno
        return Span(
            self.name,
            node.lineno,
            self._column(node.lineno, node.col_offset),
            end_line,
            self._column(end_line, node.end_col_offset or 0),
            self._line(node.lineno),
        )

    def quote(self, node: Node) -> str:
        """Write a node's source text on one line, shortened."""
        span = self.span(node)
        column, end_column = (span.column or 1) - 1, (span.end_column or 1) - 1
        if span.end_line == span.line:
            text = span.text[column:end_column]
        else:
            text = span.text[column:]
            for number in range(node.lineno + 1, (span.end_line or 0) + 1):
                if len(text) > _SHORT:
                    break
                line = self._line(number)
                text += " " + (line[:end_column] if number == span.end_line else line).strip()
        text = " ".join(text.split())
        return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."

    def comment_at(self, line: int | None) -> str | None:
        """Look up the comment at the end of a line of code."""
        text = self.comments.get(line or 0)
        return None if text is None or self._line(line or 0).lstrip().startswith("#") else text.lstrip("# ")

    def comments_above(self, line: int) -> list[str]:
        """List the comment lines that stand directly above a line, from the top."""
        found: list[str] = []
        while (line := line - 1) in self.comments and self._line(line).lstrip().startswith("#"):
            is_for_python = line <= 2 and re.match(r"#!|#.*?coding[:=]", self.comments[line])
            found.extend([] if is_for_python else [self.comments[line].lstrip("# ")])
        return found[::-1]

    def is_blank(self, line: int) -> bool:
        """Tell whether a line holds nothing."""
        return not self._line(line).strip()

    def _line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def _column(self, line: int, byte_offset: int) -> int:
        return len(self._line(line).encode()[: max(byte_offset, 0)].decode(errors="ignore")) + 1


def read_source(path: Path) -> Source:
    """Read and parse a Python file.

    Raises:
        ConfigError: `unreadable-file` or `invalid-python`.
    """
    text = _read(path)
    if path.suffix.lower() == ".toml":
        raise _toml(path)
    lines = tuple(re.split(r"\r\n|\r|\n", text))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes: they are the old file's business
        try:
            tree = ast.parse(text, filename=str(path))
        except SyntaxError as error:
            if _is_toml(text):
                raise _toml(path) from None
            raise _invalid(str(path), error, lines) from None
        except (RecursionError, MemoryError):
            raise _told(path, "invalid-python", f"cannot read {path}: it is nested too deeply") from None
        except ValueError as error:  # null characters before Python 3.12, lone surrogates
            raise _told(path, "invalid-python", f"cannot read {path}: {error}") from None
    return Source(str(path), lines, tree, _comments(text))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise _unreadable(path, "there is no such file") from None
    except IsADirectoryError:
        raise _unreadable(path, "this is a directory") from None
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    if len(content) > _LARGEST:
        raise _unreadable(path, f"it is larger than {_LARGEST / 1e6:.0f} MB, which no config is")
    encoding = "utf-8"
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = content.decode(encoding)
        text.encode()
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not {encoding} text (byte {error.start})") from None
    except SyntaxError as error:  # its first lines are no UTF-8, or name an unknown encoding
        raise _unreadable(path, f"it is not UTF-8 text: {error.msg}") from None
    except (LookupError, ValueError) as error:
        raise _unreadable(path, f"it is not {encoding} text: {error}") from None
    return text


def _is_toml(text: str) -> bool:
    try:
        return bool(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError):
        return False


def _toml(path: Path) -> ConfigError:
    remedy = f"pochi validate-config {path}"
    return ConfigError(
        [Diagnostic("invalid-python", "this is TOML already", help=remedy, span=Span(str(path)))]
    )


def _comments(text: str) -> dict[int, str]:
    found: dict[int, str] = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = token.string
    except (tokenize.TokenError, SyntaxError):
        pass  # the parser took the file: what the tokenizer cannot read costs its comments only
    return found


def _invalid(name: str, error: SyntaxError, lines: tuple[str, ...]) -> ConfigError:
    line = min(max(error.lineno or 1, 1), len(lines))
    text = lines[line - 1]
    column = min(max(error.offset or 1, 1), len(text) + 1)
    end_line, end_column = error.end_lineno or line, error.end_offset or column
    if (end_line, end_column) < (line, column):
        end_line, end_column = line, column
    span = Span(name, line, column, end_line, end_column, text)
    message = f"this is not valid Python: {error.msg}"
    return ConfigError([Diagnostic("invalid-python", message, span=span)])


def _unreadable(path: Path, why: str) -> ConfigError:
    return _told(path, "unreadable-file", f"cannot read {path}: {why}")


def _told(path: Path, code: str, message: str) -> ConfigError:
    return ConfigError([Diagnostic(code, message, span=Span(str(path)))])
