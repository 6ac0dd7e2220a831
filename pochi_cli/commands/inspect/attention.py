"""`pochi inspect attention`: what a model looks at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pochi_cli.commands.inspect.options import OutputDir, Strict, show_verdicts
from pochi_cli.commands.inspect.outcome import Outcome, finish
from pochi_cli.commands.options import AsJson, Device, RunOrCheckpoint, WorkDir, quoted
from pochi_cli.runs.inspection_layout import InspectionLayout, choose_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pochi_cli.inspection.attention_report import AttentionReport


def attention(
    run: RunOrCheckpoint = "latest",
    image: Annotated[
        list[Path] | None,
        typer.Option(
            "--image",
            help="Image to look at; repeatable. By default some of the validation data.",
            show_default=False,
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            help="Layer of the pictures: its number from 1 on, or its name. By default the last.",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        int | None,
        typer.Option(
            "--head",
            min=1,
            help="Head of the pictures, from 1 on. By default the mean of all.",
            show_default=False,
        ),
    ] = None,
    shown_class: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="Class to explain. By default what the model predicts of each image.",
            show_default=False,
        ),
    ] = None,
    strict: Strict = False,
    device: Device = None,
    output_dir: OutputDir = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Show what a model looks at: the attention of each head, and the parts of images that matter.

    Draws a layer's attention and how alike its heads are, and writes a page on which every layer and head can
    be explored. Of a network without attention Grad-CAM shows where it finds the class. The maps are held
    against random ones: whether the model needs what they call important.
    """
    asked = AskedAttention(tuple(image or ()), layer, head, shown_class)
    finish(inspect(run, device, output_dir, work_dir, asked), strict=strict, as_json=as_json)


class AskedAttention(NamedTuple):
    """What is to be looked at; see the options of the command."""

    images: tuple[Path, ...] = ()
    layer: str | None = None
    head: int | None = None
    shown_class: str | None = None


def inspect(
    run: str, device: str | None, output_dir: Path | None, work_dir: Path, asked: AskedAttention
) -> Outcome:
    """Inspect what a model looks at, and draw it."""
    from pochi_cli import api
    from pochi_cli.display import counting
    from pochi_cli.installation import load_torch

    load_torch()
    loaded = api.load_model(run, work_dir, [] if device is None else [f"device={quoted(device)}"])
    from pochi_cli.inspection.run_attention import inspect_attention

    with counting("asking about images") as progress:
        report = inspect_attention(loaded, asked.images, asked.shown_class, asked.layer, asked.head, progress)
    run_layout = None if loaded.run is None else loaded.run.layout
    files = _write(report, choose_directory(output_dir, run_layout, loaded.checkpoint))
    return Outcome(report.to_record(files), report.has_error, lambda: _show(report, files))


def _write(report: AttentionReport, layout: InspectionLayout) -> list[Path]:
    from pochi_cli.plots.inspected_attention import write_attention_figures
    from pochi_cli.runs.atomic import write_text
    from pochi_cli.web.explorer import explorer_page

    files = write_attention_figures(report, layout)
    if report.layers:
        inputs = [one.attended for one in report.images]
        write_text(layout.explorer, explorer_page(inputs, report.model, [one.maps for one in report.images]))
        files.append(layout.explorer)
    return files


def _show(report: AttentionReport, files: Sequence[Path]) -> None:
    from pochi_cli import console
    from pochi_cli.inspection import attention_text as text

    console.show_fields(*text.describe_report(report))
    console.show("")
    if report.layers:
        rows = text.layer_rows(report.layers)
        console.show_listing(
            text.LAYER_HEADER, rows, right=text.LAYER_NUMBERS, shortened=(), left_out=text.LAYER_LEFT_OUT
        )
        console.show("")
    if rows := text.map_rows(report.images):
        console.show_listing(
            text.MAP_HEADER,
            rows,
            right=text.MAP_NUMBERS,
            shortened=text.MAP_SHORTENED,
            left_out=text.MAP_LEFT_OUT,
        )
        console.show("")
    show_verdicts(report.findings)
    for path in files:
        console.show(str(path))
