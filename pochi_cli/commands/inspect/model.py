"""`pochi inspect model`: structure, weights and costs of a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pochi_cli.commands.inspect.options import OutputDir, Strict, show_verdicts
from pochi_cli.commands.inspect.outcome import Outcome, finish
from pochi_cli.commands.options import AsJson, Device, WorkDir, quoted
from pochi_cli.runs.inspection_layout import InspectionLayout, choose_directory

_MOST_NUMBERS = 2**40  # 4 TiB

if TYPE_CHECKING:
    from pochi_cli.inspection.model_report import ModelReport
    from pochi_cli.inspection.model_subject import Subject
    from pochi_cli.inspection.model_text import Table


def model(
    what: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|RUN|CHECKPOINT",
            help="Path of a config, whose network is built untrained; or run directory, name, UUID, or "
            "`latest`; or the path of a checkpoint.",
        ),
    ] = "latest",
    input_shape: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="C,H,W",
            help="Channels, height and width of an image, such as 3,224,224; of vectors their dimensions. "
            "Default: as in training.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", min=1, help="Of the training step; the config's by default.", show_default=False
        ),
    ] = None,
    strict: Strict = False,
    device: Device = None,
    output_dir: OutputDir = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Describe a network: layers, parameters, operations, memory of a training step, and inference speed.

    The weights of a run or a checkpoint are judged: what is not finite, layers that are 0, near-zero
    channels. A config needs no data where it tells the number of classes. Pictures go into the run, or beside
    a checkpoint that is of no run; of a config they are drawn only with --output-dir.
    """
    shape = None if input_shape is None else _shape(input_shape)
    outcome = inspect(what, shape, batch_size, device, output_dir, work_dir)
    finish(outcome, strict=strict, as_json=as_json)


def inspect(
    what: str,
    shape: tuple[int, ...] | None,
    batch_size: int | None,
    device: str | None,
    output_dir: Path | None,
    work_dir: Path,
) -> Outcome:
    """Inspect a network, and draw it where there is a place for pictures."""
    from pochi_cli.display import counting
    from pochi_cli.inspection.model_text import caption
    from pochi_cli.installation import load_torch
    from pochi_cli.plots.model import write_model_figures

    load_torch()
    from pochi_cli.inspection.run_model import inspect_model

    subject = _subject(what, shape, device, work_dir)
    with counting("inspecting the network") as progress:
        report = inspect_model(subject, batch_size, progress)
    figures: dict[str, Path] = {}
    if (layout := _place(subject, output_dir)) is not None:
        figures = write_model_figures(report.structure, report.weights, caption(report.origin), layout)
    return Outcome(report.to_record(figures), report.has_error, lambda: _show(report, figures.values()))


def _place(subject: Subject, output_dir: Path | None) -> InspectionLayout | None:
    """Choose where pictures go: of a config only where one says."""
    checkpoint = subject.origin.checkpoint
    if checkpoint is None:
        return None if output_dir is None else InspectionLayout(output_dir)
    return choose_directory(output_dir, None if subject.run is None else subject.run.layout, checkpoint)


def _shape(text: str) -> tuple[int, ...]:
    """Read a shape such as 3,224,224."""
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise typer.BadParameter(
            f"{text!r} is no shape: give numbers from 1, such as 3,224,224", param_hint="--input"
        )
    if math.prod(shape) > _MOST_NUMBERS:
        raise typer.BadParameter(
            f"{text} are {math.prod(shape):,} numbers for one input, more than any memory holds",
            param_hint="--input",
        )
    return shape


def _subject(what: str, shape: tuple[int, ...] | None, device: str | None, work_dir: Path) -> Subject:
    from pochi_cli.config.load import load_config
    from pochi_cli.inspection.model_subject import trained_subject, untrained_subject

    path = Path(what)
    if path.suffix.lower() == ".toml" and not path.is_dir():
        config = load_config(path, [] if device is None else [f"device={quoted(device)}"])
        return untrained_subject(config, path.name, shape)
    return trained_subject(what, work_dir, shape, device)


def _show(report: ModelReport, figures: Iterable[Path]) -> None:
    from pochi_cli import console
    from pochi_cli.inspection import model_text as text

    console.show_fields(*text.describe_report(report))
    console.show("")
    _show_table(text.layer_table(report.structure), text.LAYER_NUMBERS, text.LAYER_LEFT_OUT)
    if report.memory is not None:
        console.show(f"\n{text.memory_title(report.memory)}")
        _show_table(text.memory_table(report.memory), text.MEMORY_NUMBERS, text.MEMORY_LEFT_OUT)
    if report.speed is not None:
        console.show(f"\n{text.speed_title(report.speed)}")
        _show_table((text.SPEED_HEADER, text.speed_rows(report.speed)), text.SPEED_NUMBERS, ())
        if unmeasured := text.left_out(report.speed):
            console.show(unmeasured)
    console.show("")
    show_verdicts(report.findings)
    for path in figures:
        console.show(str(path))


def _show_table(table: Table, right: Sequence[str], left_out: Sequence[str]) -> None:
    from pochi_cli import console

    header, rows = table
    left_out = [name for name in left_out if name in header]
    console.show_listing(header, rows, right=right, shortened=(), left_out=left_out)
