"""`pochi report`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pochi_cli.commands.options import AsJson, WorkDir

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
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Write one HTML page with all about a run: curves, verdicts, confusions, mistakes, configuration.

    It stands alone: no script, nothing from elsewhere. The validation data are predicted unless that was done
    with the run's present model; without them the page goes without that part.
    """
    from pochi_cli import console
    from pochi_cli.runs.atomic import write_output
    from pochi_cli.runs.index import find_run
    from pochi_cli.web.report import report_page

    found = find_run(run, work_dir)
    inferred, index, obstacle = _inference(found)
    if obstacle is not None:
        console.note(f"without predictions: {obstacle}")
    page = report_page(found, datetime.now().astimezone(), inferred, index, obstacle)
    path = found.layout.report if output is None else output
    write_output(path, page)
    if as_json:
        results = None if inferred is None else str(inferred.directory)
        console.show_values({"report": str(path), "inference": results, "obstacle": obstacle})
    else:
        console.show(str(path))


def _inference(run: Run) -> tuple[InferenceLayout | None, FolderIndex | None, str | None]:
    """Find what was inferred of a run's validation data, or infer it.

    Returns:
        The results, the images, and what stood in the way of the results.
    """
    from pochi_cli import api
    from pochi_cli.display import counting
    from pochi_cli.errors import DataError, first_line
    from pochi_cli.inference.images import validation_images
    from pochi_cli.inference.results import latest_of_validation

    try:
        index = validation_images(run.config, run.record.class_names).index
    except DataError as error:
        index, missing = None, f"{first_line(error)}"
    inferred = latest_of_validation(run)
    if inferred is not None:
        return inferred, index, None
    if index is None:
        return None, None, missing
    if not run.layout.latest_model.exists():
        return None, None, "it has no model yet"
    loaded = api.load_model(run.directory)
    with counting("predicting images") as progress:
        return api.infer(loaded, tell=progress).layout, index, None
