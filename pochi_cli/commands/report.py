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

from pochi_cli.commands.options import AsJson, Overrides, RunName, WorkDir

if TYPE_CHECKING:
    from pochi_cli.data.folder import FolderIndex
    from pochi_cli.inference.images import ImageSource
    from pochi_cli.inference.results import InferenceResults
    from pochi_cli.runs.index import Run


def report(
    run: RunName = "latest",
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
    results, index, obstacle = _results(found, overrides or [])
    if obstacle is not None:
        console.note(f"without predictions: {obstacle}")
    page = report_page(found, datetime.now().astimezone(), results, index, obstacle)
    # In the run a link is replaced: whoever made it, what it leads to is none of the run's.
    (write_text if output is None else write_output)(path, page)
    if as_json:
        inference = None if results is None else str(results.layout.directory)
        console.show_values({"report": str(path), "inference": inference, "obstacle": obstacle})
    elif path.is_file():  # else it went to a pipe or a terminal
        console.show(str(path))


def _results(
    run: Run, overrides: Sequence[str]
) -> tuple[InferenceResults | None, FolderIndex | None, str | None]:
    """Read what was inferred of a run's validation data, or infer it.

    Returns:
        The results, the images, and what stood in the way of the results.
    """
    from pochi_cli.config.load import load_config
    from pochi_cli.config.root import ClassificationConfig
    from pochi_cli.errors import DataError, RunError, first_line
    from pochi_cli.inference.images import validation_images
    from pochi_cli.inference.results import latest_of_validation

    config = load_config(run.layout.config_toml, overrides)
    source, missing = None, None
    if not isinstance(config, ClassificationConfig):
        return None, None, None
    try:
        source = validation_images(config, run.record.class_names, run.record)
    except DataError as error:
        missing = first_line(error)
    index = None if source is None else source.index
    try:
        results = latest_of_validation(run, None if index is None else index.fingerprint)
    except RunError as error:
        return None, index, error.message
    if results is None and source is not None:
        results = _infer(run, source, overrides)
    return results, index, missing if results is None else None


def _infer(run: Run, source: ImageSource, overrides: Sequence[str]) -> InferenceResults:
    """Predict the validation data; where the run may not be written to, only for now."""
    from pochi_cli import api, console
    from pochi_cli.display import counting
    from pochi_cli.inference.results import read_results
    from pochi_cli.installation import load_torch

    load_torch()
    loaded = api.load_model(run, overrides=overrides)
    for text in (*(f"warning: {warning}" for warning in source.warnings), *loaded.messages):
        console.note(text)
    with ExitStack() as stack:
        is_ours = os.access(run.directory, os.W_OK)
        output = None if is_ours else stack.enter_context(TemporaryDirectory())
        progress = stack.enter_context(counting("predicting images"))
        return read_results(api.infer(loaded, source, output, tell=progress).layout)
