"""`pochi runs`: list, inspect and compare runs, without torch."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pochi_cli.commands.options import AsJson, RunName, WorkDir

app = typer.Typer(invoke_without_command=True)


@app.callback()
def list_all(context: typer.Context, work_dir: WorkDir = Path("work_dirs"), as_json: AsJson = False) -> None:
    """List, show and compare runs.

    Without a command all are listed, the newest last; a narrow terminal shows fewer columns.

    A run that was not closed is running while a process works on it, else crashed.

    Of a run on another machine only the record is known; one whose record cannot be read is damaged.

    A --work-dir that is named must exist; without the usual one there are no runs.
    """
    if context.invoked_subcommand is not None:
        # The options may stand before the sub-command as well as behind it.
        given = {"work_dir": str(work_dir), "as_json": as_json}
        context.default_map = {"show": given, "compare": given, "export-scalars": given}
        return
    from pochi_cli import console
    from pochi_cli.errors import RunError
    from pochi_cli.runs.listing import list_runs
    from pochi_cli.runs.listing_text import LEFT_OUT, LIST_HEADER, NUMBERS, SHORTENED, describe_list

    source = context.get_parameter_source("work_dir")
    if source is not None and source.name == "COMMANDLINE" and not work_dir.is_dir():
        raise RunError(f"there is no directory {work_dir}", hint="name the directory that holds the runs")
    runs = list_runs(work_dir, datetime.now().astimezone())
    if as_json:
        console.show_values({"work_dir": str(work_dir), "runs": [run.to_record() for run in runs]})
    elif not runs:
        console.note(f"there are no runs in {work_dir}; train one, or name another --work-dir")
    else:
        rows = list(describe_list(runs))
        console.show_listing(LIST_HEADER, rows, right=NUMBERS, shortened=SHORTENED, left_out=LEFT_OUT)
        for run in runs:
            if run.status == "damaged":
                console.note(f"damaged: {run.reason}")


@app.command("show")
def show(
    run: RunName = "latest",
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Show all about a run: how it stands, what it came to, what it was made from."""
    from pochi_cli import console
    from pochi_cli.runs.details import read_details
    from pochi_cli.runs.details_text import describe_details
    from pochi_cli.runs.index import find_run

    details = read_details(find_run(run, work_dir), datetime.now().astimezone())
    if as_json:
        console.show_values(details.to_record())
    else:
        console.show_fields(*describe_details(details))


@app.command("compare")
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN RUN...]",
            help="Two or more: directory, name, UUID, or `latest`. Default: all of the latest run's task "
            "that have a finished epoch.",
            show_default=False,
        ),
    ] = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Compare runs: their metrics, the config keys that differ, and which was better (marked *).

    Of runs that differ in their seeds alone mean and spread (sample standard deviation) are told.

    Where there are several such groups, these are compared rather than the single runs.
    """
    if runs and len(runs) < 2:
        raise typer.BadParameter("give two runs or more, or none for all", param_hint="RUN RUN...")
    from pochi_cli import console
    from pochi_cli.errors import RunError
    from pochi_cli.runs.candidates import choose_runs
    from pochi_cli.runs.comparison import compare_runs
    from pochi_cli.runs.comparison_text import comparison_record, describe_comparison, name_columns
    from pochi_cli.runs.verdict_text import remarks, verdict

    chosen, notes = choose_runs(runs or (), work_dir)
    for text in notes:
        console.note(text)
    if len(chosen) < 2:
        raise RunError(
            f"{chosen[0].directory} is the only run that can be compared",
            hint="train another, or name runs by their directories",
        )
    comparison = compare_runs(chosen)
    if as_json:
        console.show_values(comparison_record(comparison))
        return
    columns = name_columns(comparison)
    for section in describe_comparison(comparison):
        console.show_columns(section.title, columns, section.rows)
    for text in remarks(comparison):
        console.show(text)
    console.show(verdict(comparison))


@app.command("export-scalars")
def export_scalars(
    run: RunName = "latest",
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="File to write; without it, the terminal.", show_default=False),
    ] = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Write the scalars that a run has for TensorBoard as CSV: tag, step, wall_time, value."""
    from pochi_cli import console
    from pochi_cli.runs.atomic import write_output
    from pochi_cli.runs.index import find_run
    from pochi_cli.tensorboard.scalars import read_scalars, scalars_csv

    points, damages = read_scalars(find_run(run, work_dir))
    for damage in damages:
        console.note(f"warning: {damage}; what stands behind that is missing")
    if csv is not None:
        write_output(csv, scalars_csv(points))
    if as_json:
        shown = [point._asdict() for point in points]
        console.show_values({"scalars": shown, "damages": list(damages)})
    elif csv is None:
        console.show(scalars_csv(points).removesuffix("\n"))
    else:
        console.note(f"{len(points):,} values of {len({point.tag for point in points})} tags in {csv}")
