"""`pochi report`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from pochi_cli.commands.options import AsJson, Overrides, WorkDir, quoted

if TYPE_CHECKING:
    from pochi_cli.data.folder import FolderIndex
    from pochi_cli.runs.index import Run
    from pochi_cli.runs.layout import InferenceLayout


def report(
    run: Annotated[str, typer.Argument(help="Run directory, name, UUID, or `latest`.")] = "latest",
    output: Annotated[
        Path | None,
        typer.Option("--output", help="File to write; by default in the run.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Write one HTML page with all about a run: curves, verdicts, confusions, mistakes, configuration.

    It stands alone: no script, nothing from elsewhere. The validation data are predicted unless that was done
    with the run's present model; without them the page goes without that part. Where they have moved,
    --set val_data_root=DIR tells.
    """
    from pochi_cli import console
    from pochi_cli.runs.atomic import write_output, write_text
    from pochi_cli.runs.index import find_run
    from pochi_cli.web.report import report_page

    found = find_run(run, work_dir)
    path = found.layout.report if output is None else output
    with ExitStack() as stack:
        inferred, index, obstacle = _inference(found, overrides or [], stack)
        if obstacle is not None:
            console.note(f"without predictions: {obstacle}")
        page = report_page(found, datetime.now().astimezone(), inferred, index, obstacle)
        # In the run a link is replaced: whoever made it, what it leads to is none of the run's.
        (write_text if output is None else write_output)(path, page)
        results = None if inferred is None else str(inferred.directory)
    if as_json:
        console.show_values({"report": str(path), "inference": results, "obstacle": obstacle})
    elif path.is_file():  # else it went to a pipe or a terminal
        console.show(str(path))


def _inference(
    run: Run, overrides: Sequence[str], stack: ExitStack
) -> tuple[InferenceLayout | None, FolderIndex | None, str | None]:
    """Find what was inferred of a run's validation data, or infer it.

    Args:
        run: The run.
        overrides: Of its config.
        stack: Closed when the results are no longer needed: those of a run that may not be written to.

    Returns:
        The results, the images, and what stood in the way of the results.
    """
    from pochi_cli import api, console
    from pochi_cli.config.load import load_config
    from pochi_cli.display import counting
    from pochi_cli.errors import DataError, RunError, first_line
    from pochi_cli.inference.images import validation_images
    from pochi_cli.inference.results import latest_of_validation

    config = load_config(run.layout.config_toml, overrides)
    source, missing = None, None
    try:
        source = validation_images(config, run.record.class_names, run.record)
    except DataError as error:
        missing = first_line(error)
    index = None if source is None else source.index
    try:
        inferred = latest_of_validation(run, None if index is None else index.fingerprint)
    except RunError as error:
        return None, index, error.message
    if inferred is not None or source is None:
        return inferred, index, None if inferred is not None else missing
    for warning in source.warnings:
        console.note(f"warning: {warning}")
    roots = [
        f"{key}={quoted(root)}"
        for key in ("train_data_root", "val_data_root")
        if (root := getattr(config, key)) is not None
    ]
    loaded = api.load_model(run, overrides=[*roots, *overrides])
    for message in loaded.messages:
        console.note(message)
    output = None
    if not os.access(run.directory, os.W_OK):
        output = stack.enter_context(TemporaryDirectory())
    with counting("predicting images") as progress:
        return api.infer(loaded, output=output, tell=progress).layout, index, None
