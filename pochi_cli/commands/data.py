"""`pochi data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pochi_cli.commands.options import AsJson

app = typer.Typer(help="Make and check image folders.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("digits")
def digits(
    directory: Annotated[Path, typer.Argument(help="Directory to write; must not exist or be empty.")],
    seed: Annotated[int, typer.Option(help="Decides the split.", min=0)] = 0,
) -> None:
    """Write the embedded demo data: 1,797 handwritten digits as an image folder, split for validation."""
    from pochi_cli.console import show
    from pochi_cli.data.digits import write_digits

    counts = write_digits(directory, seed=seed)
    parts = " and ".join(f"{count} images in {directory / part}" for part, count in counts._asdict().items())
    show(f"wrote {parts}")


@app.command("check")
def check(
    directory: Annotated[
        Path,
        typer.Argument(help="Holds a directory for each class, or train, val and test directories that do."),
    ],
    as_json: AsJson = False,
) -> None:
    """Decode every image of a folder; report counts, sizes, bad files, and files that are there twice."""
    from pochi_cli import console
    from pochi_cli.data.check import check_directory
    from pochi_cli.data.presentation import data_tables, report_values
    from pochi_cli.display import counting

    with counting("decoding images") as progress:
        report = check_directory(directory, progress)
    if as_json:
        console.show_values(report_values(report))
    else:
        for table in data_tables(report):
            console.show_table(table.title, table.header, table.rows)
        console.show_findings(report.findings, str(directory))
    if report.has_errors:
        raise typer.Exit(1)
