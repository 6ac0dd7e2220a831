"""`pochi inspect`: what goes on inside a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pochi_cli.commands.options import AsJson, Device, RunName, WorkDir, quoted

if TYPE_CHECKING:
    from pochi_cli.inspection.findings import Finding
    from pochi_cli.inspection.gradient_report import GradientReport
    from pochi_cli.inspection.monitor_report import MonitorReport

app = typer.Typer(help="Look inside a network.", no_args_is_help=True)

_Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 where a finding is an error.")]
_OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", help="Where the picture goes; by default into the run.", show_default=False),
]


@app.callback()
def _group() -> None:
    pass


@app.command("gradients")
def gradients(
    run: RunName = "latest",
    strict: _Strict = False,
    device: Device = None,
    output_dir: _OutputDir = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Judge the gradients of a run: its trace, and a fresh backward pass over a few training batches.

    The pass takes the best checkpoint (the averaged weights, with ema_decay) and changes nothing in it. It
    gives each layer's statistics, and a picture of them.
    """
    from pochi_cli import api, console
    from pochi_cli.config.load import load_config
    from pochi_cli.display import counting
    from pochi_cli.inspection.gradient_text import caption
    from pochi_cli.installation import require_torch
    from pochi_cli.plots.gradient_flow import write_gradient_flow_figure

    found = api.load_run(run, work_dir)
    config = None if device is None else load_config(found.layout.config_toml, [f"device={quoted(device)}"])
    require_torch()
    from pochi_cli.inspection.run_gradients import inspect_gradients

    with counting("computing gradients") as progress:
        report = inspect_gradients(found, config, progress)
    figure = None
    if report.fresh is not None:
        title = caption(report, report.fresh)
        figure = write_gradient_flow_figure(report.fresh.flow, title, found, output_dir)
    if as_json:
        console.show_values(report.to_record(figure))
    else:
        _show(report, figure)
    if strict and report.has_error:
        raise typer.Exit(1)


@app.command("monitor")
def monitor(
    run: RunName = "latest",
    strict: _Strict = False,
    output_dir: _OutputDir = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Judge and draw the course of a training: losses, accuracy, rates, gradient norms, update ratios.

    What was not recorded is left out and named; without the monitor the epochs alone are judged.
    """
    from pochi_cli import console
    from pochi_cli.inspection.monitor_report import inspect_monitor
    from pochi_cli.plots.monitor import write_monitor_figure
    from pochi_cli.runs.index import find_run

    found = find_run(run, work_dir)
    report = inspect_monitor(found)
    figure = write_monitor_figure(report, found, output_dir)
    if as_json:
        console.show_values(report.to_record(figure))
    else:
        _show_training(report, figure)
    if strict and report.has_error:
        raise typer.Exit(1)


def _show_verdicts(findings: Sequence[Finding]) -> None:
    from pochi_cli import console

    if findings:
        console.show_verdicts(findings)
    else:
        console.show("nothing found")


def _show_training(report: MonitorReport, figure: Path) -> None:
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
    _show_verdicts(report.findings)
    console.show(str(figure))


def _show(report: GradientReport, figure: Path | None) -> None:
    from pochi_cli import console
    from pochi_cli.inspection import gradient_text as text

    console.show_fields(*text.describe_report(report))
    if report.trace is not None:
        console.show("")
        console.show_gradients(report.trace)
    if report.fresh is not None:
        flow = report.fresh.flow
        rows = text.layer_rows(flow.layers)
        console.show("")
        console.show_listing(
            text.LAYER_HEADER, rows, right=text.NUMBERS, shortened=(), left_out=text.LEFT_OUT
        )
        console.show("")
        for title, layers in (("Smallest norms", flow.smallest()), ("Largest norms", flow.largest())):
            console.show_table(title, text.EXTREMES_HEADER, text.extreme_rows(layers))
    _show_verdicts(report.findings)
    if figure is not None:
        console.show(str(figure))
