"""`pochi migrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def migrate(
    old: Annotated[Path, typer.Argument(help="The old Python config.", show_default=False, readable=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="New file to write; default: standard output.", show_default=False
        ),
    ] = None,
) -> None:
    """Turn an old pochi_train_config.py into TOML by reading it; nothing of it is run.

    What cannot be carried over becomes a comment and a warning.
    """
    from pochi_cli.console import show, show_diagnostics, show_file
    from pochi_cli.migration.migrate import migrate, write_migration

    migration = migrate(old, target=str(output or "the new file"))
    if output is None:
        show_file(migration.text)
    else:
        write_migration(migration, output)
        show(f"wrote {output}; next: pochi validate-config {output}")
    if migration.diagnostics:
        show_diagnostics(migration.diagnostics)
    if not migration.is_valid:
        raise typer.Exit(1)
