"""Options that the inspections share, and what they print alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pochi_cli.inspection.findings import Finding

Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 where a finding is an error.")]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        help="Where the pictures go; by default into the run, or beside the checkpoint.",
        show_default=False,
    ),
]


def show_verdicts(findings: Sequence[Finding]) -> None:
    """Print what was found, or that nothing was."""
    from pochi_cli import console

    if findings:
        console.show_verdicts(findings)
    else:
        console.show("nothing found")
