"""`pochi validate-config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pochi_cli.commands.options import Overrides


def validate_config(
    configs: Annotated[list[Path], typer.Argument(help="TOML files.", show_default=False, readable=False)],
    overrides: Overrides = None,
) -> None:
    """Report every mistake in configs; print the plan of those that have none."""
    from pochi_cli.config.load import load_config
    from pochi_cli.config.plan import describe_plan
    from pochi_cli.console import show_diagnostics, show_fields
    from pochi_cli.errors import ConfigError

    failed = False
    for path in configs:
        try:
            config = load_config(path, overrides or ())
        except ConfigError as error:
            failed = True
            show_diagnostics(error.diagnostics)
        else:
            show_fields(f"{path} is valid", describe_plan(config))
    if failed:
        raise typer.Exit(1)
