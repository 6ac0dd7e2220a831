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

    Templates: quickstart, finetune, fast, high-accuracy, imbalanced, layerwise, layerwise-linear, vit,
    vit-digits, cifar10-vgg, cifar10-fast, search-digits, embedding, embedding-text.
    """
    from pochi_cli.config.schema import SCHEMA_FILE
    from pochi_cli.config.templates import write_schema, write_template
    from pochi_cli.console import note, show

    write_template(template, path)
    schema = write_schema(path.parent)
    if schema is None:
        note(f"{path.parent / SCHEMA_FILE} is not a schema of Pochi's and stays as it is")
    command = "optimize" if template.startswith("search") else "train"
    files = f"wrote {path}" + (f" and {schema}, for editors" if schema else "")
    show(f"{files}; next: pochi {command} {path}")
