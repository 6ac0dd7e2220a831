"""`pochi train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pochi_cli.commands.options import Overrides, quoted


def train(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file.", show_default=False, readable=False)
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Go on with a run: its directory, name, UUID, or `latest`. Its own config is used.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", help="cpu, mps, cuda or cuda:N; short for --set device=...", show_default=False
        ),
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            "--work-dir",
            help="Where the run goes (short for --set work_dir=...), or where --resume looks.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a model from a config, or go on with a run."""
    if (config is None) == (resume is None):
        raise typer.BadParameter("give either a CONFIG or --resume RUN", param_hint="CONFIG")
    from pochi_cli import api, console
    from pochi_cli.config.document import read_document
    from pochi_cli.config.load import check_document
    from pochi_cli.data.findings import raise_errors
    from pochi_cli.data.prepare import missing_folders
    from pochi_cli.display import create_progress
    from pochi_cli.runs.summary import summarize

    changes = list(overrides or ())
    if device is not None:
        changes.append(f"device={quoted(device)}")
    if config is not None:
        if work_dir is not None:
            changes.append(f"work_dir={quoted(str(work_dir))}")
        document = read_document(config, changes)
        checked = check_document(document)
        valid = checked.valid()
        if checked.diagnostics:
            console.show_diagnostics(checked.diagnostics, str(config))
        with document.placing():
            raise_errors(missing_folders(valid))  # at once: loading torch takes seconds
            run = api.train(valid, progress=create_progress())
    else:
        found = api.load_run(str(resume), work_dir or "work_dirs")
        run = api.resume(found, changes, progress=create_progress())
    console.show_fields(*summarize(run))
