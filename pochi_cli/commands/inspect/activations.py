"""`pochi inspect activations`: what each layer puts out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pochi_cli.commands.inspect.options import OutputDir, Strict, show_verdicts
from pochi_cli.commands.inspect.outcome import Outcome, finish
from pochi_cli.commands.options import AsJson, Device, RunOrCheckpoint, WorkDir, quoted
from pochi_cli.runs.inspection_layout import choose_directory

if TYPE_CHECKING:
    from pochi_cli.inspection.activation_report import ActivationReport


def activations(
    model: RunOrCheckpoint = "latest",
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            min=1,
            metavar="N",
            help="Take N evenly spaced images, or vectors, rather than all.",
            show_default=False,
        ),
    ] = None,
    strict: Strict = False,
    device: Device = None,
    output_dir: OutputDir = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Judge the activations of a trained model: dead and constant units, saturation, effective rank.

    It runs the validation data (of an encoder the held-out vectors) through the best checkpoint, in eval
    mode, and changes nothing in it. It gives each layer's statistics, and a picture of their histograms.
    """
    finish(inspect(model, images, device, output_dir, work_dir), strict=strict, as_json=as_json)


def inspect(
    model: str, images: int | None, device: str | None, output_dir: Path | None, work_dir: Path
) -> Outcome:
    """Inspect the activations of a model, and draw them."""
    from pochi_cli.plots.activations import write_activation_figure

    report = _inspect(model, images, device, work_dir)
    run_layout = None if report.run is None else report.run.layout
    layout = choose_directory(output_dir, run_layout, report.checkpoint)
    figure = write_activation_figure(report, layout)
    return Outcome(report.to_record(figure), report.has_error, lambda: _show(report, figure))


def _inspect(model: str, images: int | None, device: str | None, work_dir: Path) -> ActivationReport:
    from pochi_cli import api, console
    from pochi_cli.display import counting
    from pochi_cli.installation import load_torch

    load_torch()
    from pochi_cli.inference.model import is_encoder
    from pochi_cli.inspection.run_activations import inspect_encoder, inspect_model

    if is_encoder(model, work_dir):
        encoder = api.load_encoder(model, work_dir, device)
        with counting("computing activations") as progress:
            return inspect_encoder(encoder, images, progress)
    loaded = api.load_model(model, work_dir, [] if device is None else [f"device={quoted(device)}"])
    for message in loaded.messages:
        console.note(message)
    with counting("computing activations") as progress:
        return inspect_model(loaded, images, progress)


def _show(report: ActivationReport, figure: Path) -> None:
    from pochi_cli import console
    from pochi_cli.inspection import activation_text as text

    console.show_fields(*text.describe_report(report))
    console.show("")
    header, rows = text.layer_table(report.survey.layers)
    left_out = [name for name in text.LEFT_OUT if name in header]
    console.show_listing(header, rows, right=text.NUMBERS, shortened=(), left_out=left_out)
    console.show("")
    show_verdicts(report.findings)
    console.show(str(figure))
