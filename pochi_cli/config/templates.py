"""The example configs that `pochi init` writes."""

from __future__ import annotations

import difflib
from pathlib import Path

from pochi_cli.config.schema import SCHEMA_FILE, is_pochi_schema, schema_text
from pochi_cli.errors import PochiError, StorageError

_PACKAGE = Path(__file__).parent.parent


def template_directory() -> Path:
    """Find the example configs: inside an installed package, or beside it in a checkout."""
    installed = _PACKAGE / "templates"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def template_names() -> list[str]:
    """List the templates."""
    return sorted(path.stem.replace("_", "-") for path in template_directory().glob("*.toml"))


def write_template(name: str, path: Path) -> None:
    """Write a template to a new file.

    Its first line names the schema that `write_schema` writes.

    Raises:
        PochiError: There is no such template, or the file exists.
        StorageError: It cannot be written.
    """
    names = template_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        raise PochiError(f"there is no template {name}", hint=f"{guess}templates: {', '.join(names)}")
    source = template_directory() / f"{name.replace('-', '_')}.toml"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(source.read_text("utf-8"))
    except FileExistsError:
        raise PochiError(f"{path} exists already", hint="name another file, or remove it first") from None
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def write_schema(directory: Path) -> Path | None:
    """Write the JSON Schema of the config into a directory, for editors.

    Returns:
        The file; `None` if there is one of this name that is no schema of Pochi's, which is left alone.

    Raises:
        StorageError: It cannot be written.
    """
    path = directory / SCHEMA_FILE
    try:
        if path.exists() and not is_pochi_schema(path.read_text("utf-8", errors="replace")):
            return None
        path.write_text(schema_text(), "utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    return path
