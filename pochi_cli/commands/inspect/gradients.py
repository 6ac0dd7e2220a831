"""`pochi inspect gradients`: what reaches each layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pochi_cli.commands.inspect.options import OutputDir, Strict, show_verdicts
from pochi_cli.commands.inspect.outcome import Outcome, finish
from pochi_cli.commands.options import AsJson, Device, RunName, WorkDir, quoted

if TYPE_CHECKING:
    from pochi_cli.inspection.gradient_report import GradientReport


def gradients(
    run: RunName = "latest",
    strict: Strict = False,
    device: Device = None,
    output_dir: OutputDir = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Judge the gradients of a run: its trace, and a fresh backward pass over a few training batches.

    The pass takes the best checkpoint (the averaged weights, with ema_decay) and changes nothing in it. It
    gives each layer's statistics, and a picture of them.
    """
    finish(inspect(run, device, output_dir, work_dir), strict=strict, as_json=as_json)


def inspect(run: str, device: str | None, output_dir: Path | None, work_dir: Path) -> Outcome:
    """Inspect the gradients of a run, and draw them."""
    from pochi_cli import api
    from pochi_cli.config.load import load_config
    from pochi_cli.display import counting
    from pochi_cli.inspection.gradient_text import caption
    from pochi_cli.installation import load_torch
    from pochi_cli.plots.gradient_flow import write_gradient_flow_figure

    found = api.load_run(run, work_dir)
    config = None if device is None else load_config(found.layout.config_toml, [f"device={quoted(device)}"])
    load_torch()
    from pochi_cli.inspection.run_gradients import inspect_gradients

    with counting("computing gradients") as progress:
        report = inspect_gradients(found, config, progress)
    figure = None
    if report.fresh is not None:
        title = caption(report, report.fresh)
        figure = write_gradient_flow_figure(report.fresh.flow, title, found, output_dir)
    return Outcome(report.to_record(figure), report.has_error, lambda: _show(report, figure))


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
    show_verdicts(report.findings)
    if figure is not None:
        console.show(str(figure))
