"""Asking which run is meant."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import typer

from pochi_cli.runs.index import Run

_NUMBER = "#"


def pick_run(work_dir: Path) -> Run:
    """List the runs on the terminal, numbered, and ask which is meant; all on stderr.

    Args:
        work_dir: Directory of the runs.

    Raises:
        RunError: There is none, or the one that is meant is damaged.
        typer.BadParameter: Nobody can be asked.
    """
    from pochi_cli.console import note, stderr_console
    from pochi_cli.errors import RunError
    from pochi_cli.runs.index import find_run
    from pochi_cli.runs.listing import list_runs
    from pochi_cli.runs.listing_text import LEFT_OUT, LIST_HEADER, NUMBERS, SHORTENED, describe_list
    from pochi_cli.tables import fitting_widths, listing

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise typer.BadParameter("asks, and there is no terminal; name a RUN", param_hint="--pick")
    runs = list_runs(work_dir, datetime.now().astimezone())
    if not runs:
        raise RunError(f"there is no run in {work_dir}", hint="train one, or name another --work-dir")
    header = (_NUMBER, *LIST_HEADER)
    rows = [(str(number), *cells) for number, cells in enumerate(describe_list(runs), start=1)]
    console = stderr_console()
    widths = fitting_widths(header, rows, SHORTENED, LEFT_OUT, console.width)
    console.print(listing(header, rows, widths, (_NUMBER, *NUMBERS)), soft_wrap=True)
    names = [run.directory.name for run in runs]
    while True:
        question = f"number, name or UUID [{names[-1]}]"
        answer = typer.prompt(question, default="", show_default=False, err=True).strip()
        if answer.isdecimal() and 1 <= int(answer) <= len(runs):
            answer = str(runs[int(answer) - 1].directory)
        try:
            return find_run(answer or "latest", work_dir)
        except RunError as error:
            note(f"error: {error.message}")
