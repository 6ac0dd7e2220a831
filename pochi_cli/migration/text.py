"""The new file's text: its parts in the order of the old file, tables last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pochi_cli.migration.inline import comment, inline, key_part


@dataclass(frozen=True)
class Part:
    """A key with its value, or what is said in place of one.

    Attributes:
        line: Where it stood in the old file.
        text: Its lines.
        is_table: Whether it must stand behind all keys that are outside tables.
        has_gap: Whether a blank line parted it from what stood above it.
    """

    line: int
    text: tuple[str, ...]
    is_table: bool = False
    has_gap: bool = False


def write_parts(title: str, parts: Iterable[Part]) -> str:
    """Put a file together."""
    ordered = sorted(parts, key=lambda part: (part.is_table, part.line))
    lines = [comment(title), ""]
    for part in ordered:
        if (part.has_gap or part.is_table) and lines[-1]:
            lines.append("")
        lines.extend(part.text)
    return "\n".join(lines).rstrip("\n") + "\n"


def key_lines(name: str, value: object, note: str | None = None) -> list[str]:
    """Write a key on a line of its own, with a comment behind it."""
    return [f"{key_part(name)} = {inline(value)}{f'  {comment(note)}' if note else ''}"]


def table_lines(path: tuple[str, ...], table: Mapping[str, object]) -> list[str]:
    """Write a table under its header, then the tables within it."""
    inner = {name: value for name, value in table.items() if isinstance(value, dict)}
    lines = [] if inner and len(inner) == len(table) else [f"[{'.'.join(map(key_part, path))}]"]
    for name, value in table.items():
        if name not in inner:
            lines.extend(key_lines(name, value))
    for name, value in inner.items():
        if lines:
            lines.append("")
        lines.extend(table_lines((*path, name), value))
    return lines


def commented(lines: Iterable[str]) -> list[str]:
    """Turn lines into comments."""
    return [line if not line or line.startswith("#") else f"# {line}" for line in lines]
