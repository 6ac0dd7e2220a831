"""`pochi init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("pochi.toml"),
    template: Annotated[str, typer.Option("--template", "-t", help="Name of a template.")] = "quickstart",
) -> None:
    """Write a commented config that trains as it stands.

    Templates: quickstart, finetune, fast, high-accuracy, imbalanced, layerwise, layerwise-linear.
    """
    from pochi_cli.config.templates import write_template
    from pochi_cli.console import show

    write_template(template, path)
    show(f"wrote {path}; next: pochi train {path}")
