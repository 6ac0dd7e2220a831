"""`pochi validate-config`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pochi_cli.commands.options import Overrides


class Format(StrEnum):
    """How diagnostics are written."""

    text = "text"
    json = "json"
    github = "github"


def validate_config(
    configs: Annotated[list[Path], typer.Argument(help="TOML files.", show_default=False, readable=False)],
    overrides: Overrides = None,
    output: Annotated[
        Format,
        typer.Option(
            "--format", help="json: one object per config and line; github: annotations of a workflow."
        ),
    ] = Format.text,
) -> None:
    """Report every mistake in configs; print the plan of those that have none."""
    from pochi_cli import console
    from pochi_cli.config.diagnostics import to_annotation, to_record
    from pochi_cli.config.document import Document
    from pochi_cli.config.load import Checked, check_document
    from pochi_cli.errors import ConfigError
    from pochi_cli.runs.plan import make_plan

    failed = False
    for path in configs:
        try:
            checked = check_document(Document(path, overrides or ()))
        except ConfigError as error:
            checked = Checked(None, error.diagnostics)
        failed = failed or checked.config is None
        plan = None if checked.config is None else make_plan(checked.config)
        if output is Format.json:
            records = [to_record(diagnostic) for diagnostic in checked.diagnostics]
            console.show(json.dumps({"diagnostics": records, "plan": plan and plan.to_record()}))
        elif output is Format.github:
            for diagnostic in checked.diagnostics:
                console.show(to_annotation(diagnostic))
        else:
            if plan is not None:
                console.show_plan(str(path), plan)
            if checked.diagnostics:
                console.show_findings(checked.diagnostics, str(path))
    if failed:
        raise typer.Exit(1)
