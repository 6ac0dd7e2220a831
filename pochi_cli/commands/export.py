"""`pochi export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pochi_cli.commands.options import AsJson, Overrides, RunOrCheckpoint, WorkDir
from pochi_cli.inference.contract import ExportFormat

if TYPE_CHECKING:
    from pochi_cli.inference.export import Export


def export(
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="onnx: for onnxruntime and others; torch: for torch.export.load.",
            show_default=False,
        ),
    ],
    model: RunOrCheckpoint = "latest",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="File to write, ending in .onnx or .pt2. Default: model.onnx or model.pt2 beside the run's "
            "checkpoints.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR|FILE",
            help="Images to compare on. Default: the run's validation data.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Write a trained model for other programs, with its class names and how images are prepared for it.

    The file is run, and compared with PyTorch on up to 32 images; one that differs is not kept.
    """
    if output is not None and output.suffix != f".{form.suffix}":
        raise typer.BadParameter(f"must end in .{form.suffix} with --format {form}", param_hint="--output")
    from pochi_cli import api, console
    from pochi_cli.installation import load_torch

    load_torch()
    from pochi_cli.inference.export import ON_CPU, default_path, export_model
    from pochi_cli.inference.images import find_images, validation_images

    loaded = api.load_model(model, work_dir, [*(overrides or ()), *ON_CPU])
    for message in loaded.messages:
        console.note(message)
    record = None if loaded.run is None else loaded.run.record
    source = (
        validation_images(loaded.config, loaded.class_names, record)
        if data is None
        else find_images(data, loaded.class_names, unlabelled=True)
    )
    for warning in source.warnings:
        console.note(f"warning: {warning}")
    if loaded.transform.is_random:
        console.note("warning: val_transform has random steps: no program can prepare images just as it does")
    path = default_path(loaded, form) if output is None else output
    console.note(
        f"exporting {loaded.config.model_name} of epoch {loaded.epoch}, and comparing it with PyTorch"
    )
    exported = export_model(loaded, form, path, source)
    for text in exported.skipped:
        console.note(f"warning: left out {text}")
    if as_json:
        console.show_values(exported.to_record())
    else:
        console.show_fields(str(path), _describe(exported))


def _describe(exported: Export) -> list[tuple[str, str]]:
    from pochi_cli.inference.contract import INPUT, OUTPUT

    agreement = exported.agreement
    height, width = exported.input_size
    form = "torch.export" if exported.opset is None else f"ONNX, opset {exported.opset}"
    return [
        ("format", f"{form}, {exported.file_bytes / 1e6:,.1f} MB"),
        ("input", f"{INPUT}: float32 (N, 3, {height}, {width}), any N"),
        ("output", f"{OUTPUT}: float32 (N, {exported.classes})"),
        ("compared", f"with PyTorch on {agreement.images} images, in one batch and one by one"),
        ("largest difference", f"{agreement.largest_difference:.2g} in a logit"),
        ("same class", f"{agreement.same_class} of {agreement.images}"),
    ]
