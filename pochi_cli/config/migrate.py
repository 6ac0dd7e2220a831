"""From an old `pochi_train_config.py` to TOML, by reading its syntax tree: nothing of it is ever run."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pochi_cli.config.load import validate
from pochi_cli.config.migrate_keys import map_keys
from pochi_cli.config.migrate_program import read_program
from pochi_cli.config.migrate_source import read_source
from pochi_cli.config.migrate_text import write_parts
from pochi_cli.errors import ConfigError, Diagnostic, Note, PochiError, Span, StorageError


@dataclass(frozen=True)
class Migration:
    """An old config as TOML.

    Attributes:
        text: The new file's text: valid TOML, though not always a valid config.
        diagnostics: What was not carried over (warnings), then what the new config lacks (errors).
    """

    text: str
    diagnostics: tuple[Diagnostic, ...]

    @property
    def is_valid(self) -> bool:
        """Whether the new config can be used as it stands."""
        return all(diagnostic.severity != "error" for diagnostic in self.diagnostics)


def migrate(path: str | Path, target: str = "the new file") -> Migration:
    """Turn an old config into TOML.

    Args:
        path: Python file.
        target: What the new file is called in the diagnostics.

    Raises:
        ConfigError: The file cannot be read or parsed.
    """
    source = read_source(Path(path))
    keys = map_keys(read_program(source.tree), source)
    text = write_parts(f"Migrated from {Path(path).name} by `pochi migrate`.", keys.parts)
    mistakes: tuple[Diagnostic, ...] = ()
    try:
        validate(tomllib.loads(text), source=target)
    except ConfigError as error:
        mistakes = tuple(_with_origin(mistake, keys.origins) for mistake in error.diagnostics)
    return Migration(text, (*keys.diagnostics, *mistakes))


def _with_origin(mistake: Diagnostic, origins: Mapping[str, Span]) -> Diagnostic:
    origin = origins.get(str(mistake.key[0])) if mistake.key else None
    if origin is None:
        return mistake
    note = Note("this is what the old file says", span=origin)
    return dataclasses.replace(mistake, notes=(*mistake.notes, note))


def write_migration(migration: Migration, path: Path) -> None:
    """Write a migrated config as a new file.

    Raises:
        PochiError: The file exists.
        StorageError: It cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(migration.text)
    except FileExistsError:
        raise PochiError(f"{path} exists already", hint="name another file, or remove it first") from None
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error
