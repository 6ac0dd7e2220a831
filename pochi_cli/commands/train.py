"""`pochi train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pochi_cli.commands.options import Overrides, quoted

if TYPE_CHECKING:
    from pochi_cli.config.root import ClassificationConfig
    from pochi_cli.runs.index import Run


def train(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file.", show_default=False, readable=False)
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN|latest|auto",
            help="Go on with a run: its directory, name, UUID, or `latest`; with its own config, or with a "
            "CONFIG that does not change its course. `auto`: with the newest unfinished run of CONFIG, or "
            "with a new one.",
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
    if config is None and (resume is None or resume == "auto"):
        needs = "--resume auto needs a CONFIG" if resume else "give a CONFIG, or --resume RUN"
        raise typer.BadParameter(needs, param_hint="CONFIG")
    from pochi_cli import api, console
    from pochi_cli.config.document import read_document
    from pochi_cli.config.load import check_document
    from pochi_cli.data.findings import raise_errors
    from pochi_cli.data.prepare import missing_folders
    from pochi_cli.display import create_progress
    from pochi_cli.runs.continuation import find_unfinished
    from pochi_cli.runs.records import require_file
    from pochi_cli.runs.summary import summarize

    changes = list(overrides or ())
    if device is not None:
        changes.append(f"device={quoted(device)}")
    run = None
    if config is None:
        run = api.load_run(str(resume), work_dir or "work_dirs")
        config = run.layout.config_toml
        require_file(config)
    elif work_dir is not None:
        changes.append(f"work_dir={quoted(str(work_dir))}")
    document = read_document(config, changes)
    checked = check_document(document)
    valid = checked.valid()
    if checked.diagnostics and (run is None or changes):  # else they were told when the run began
        console.show_diagnostics(checked.diagnostics, document.path)
    with document.placing():
        raise_errors(missing_folders(valid))  # at once: loading torch takes seconds
        if resume == "auto":
            run, unreadable = find_unfinished(valid)
            for text in unreadable:
                console.note(f"passed over: {text}")
            console.note(_found(run, valid))
        elif run is None and resume is not None:
            run = api.load_run(resume, valid.work_dir)
        if run is None:
            run = api.train(valid, progress=create_progress())
        else:
            run = api.resume(run, valid, progress=create_progress())
    console.show_fields(*summarize(run))


def _found(run: Run | None, config: ClassificationConfig) -> str:
    if run is None:
        return f"there is no unfinished run of this config in {config.work_dir}: a new one begins"
    record = run.record
    return f"{run.layout.name} goes on: {run.status} after {record.epochs_done} of {record.epochs} epochs"
