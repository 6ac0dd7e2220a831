"""From an old `pochi_train_config.py` to TOML, by reading its syntax tree: nothing of it is ever run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pochi_cli.config.document import Document
from pochi_cli.config.load import check_document
from pochi_cli.config.spans import SourceText
from pochi_cli.errors import Diagnostic, Note, PochiError, Span, StorageError
from pochi_cli.migration.keys import map_keys
from pochi_cli.migration.program import read_program
from pochi_cli.migration.source import read_source
from pochi_cli.migration.text import write_parts


@dataclass(frozen=True)
class Migration:
    """An old config as TOML.

    Attributes:
        text: The new file's text: valid TOML, though not always a valid config.
        diagnostics: What was not carried over (warnings), then the new config's own diagnostics.
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
    checked = check_document(Document(SourceText(text, target)))
    found = (_with_origin(diagnostic, keys.origins) for diagnostic in checked.diagnostics)
    return Migration(text, (*keys.diagnostics, *found))


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
