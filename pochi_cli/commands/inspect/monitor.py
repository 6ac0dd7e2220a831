"""`pochi inspect monitor`: how the training went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pochi_cli.commands.inspect.options import OutputDir, Strict, show_verdicts
from pochi_cli.commands.inspect.outcome import Outcome, finish
from pochi_cli.commands.options import AsJson, RunName, WorkDir

if TYPE_CHECKING:
    from pochi_cli.inspection.monitor_report import MonitorReport


def monitor(
    run: RunName = "latest",
    strict: Strict = False,
    output_dir: OutputDir = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Judge and draw the course of a training: losses, accuracy, rates, gradient norms, update ratios.

    What was not recorded is left out and named; without the monitor the epochs alone are judged.
    """
    finish(inspect(run, output_dir, work_dir), strict=strict, as_json=as_json)


def inspect(run: str, output_dir: Path | None, work_dir: Path) -> Outcome:
    """Inspect the course of a run's training, and draw it."""
    from pochi_cli.inspection.monitor_report import inspect_monitor
    from pochi_cli.plots.monitor import write_monitor_figure
    from pochi_cli.runs.index import find_run

    found = find_run(run, work_dir)
    report = inspect_monitor(found)
    figure = write_monitor_figure(report, found, output_dir)
    return Outcome(report.to_record(figure), report.has_error, lambda: _show(report, figure))


def _show(report: MonitorReport, figure: Path) -> None:
    from pochi_cli import console
    from pochi_cli.inspection import monitor_text as text

    console.show_fields(*text.describe_report(report))
    if report.seen is not None and report.seen.updates:
        rows = text.update_rows(report.seen.updates)
        console.show("")
        console.show_listing(
            text.UPDATE_HEADER, rows, right=text.UPDATE_NUMBERS, shortened=(), left_out=text.UPDATE_LEFT_OUT
        )
        console.show("")
    show_verdicts(report.findings)
    console.show(str(figure))
