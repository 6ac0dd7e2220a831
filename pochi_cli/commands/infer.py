"""`pochi infer`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pochi_cli.commands.options import AsJson, Device, Overrides, RunOrCheckpoint, WorkDir, quoted

if TYPE_CHECKING:
    from pochi_cli.inference.encoder_evaluation import EncoderEvaluation
    from pochi_cli.inference.infer import Inference

_TOLD_PATHS = 5


def infer(
    model: RunOrCheckpoint = "latest",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR|FILE",
            help="Images: a directory for each class, or for some; or images alone, which are predicted "
            "without scores. For an encoder a file of vectors. Default: the run's validation data.",
            show_default=False,
        ),
    ] = None,
    unlabelled: Annotated[
        bool,
        typer.Option("--unlabelled", help="Predict every image in DIR, and take no directory for a class."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Directory of the results; those of an earlier inference are replaced. Default: a new one "
            "in the run's inference_results.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    device: Device = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Predict images with a trained model, score the predictions and show what is mistaken for what.

    It uses the run's own config, class names and validation transform. Classes are matched by name.

    Of an encoder of vectors it measures the recall, beside encodings that are not learnt.
    """
    if unlabelled and data is None:
        raise typer.BadParameter("needs --data", param_hint="--unlabelled")
    from pochi_cli import api, console
    from pochi_cli.installation import load_torch

    load_torch()
    from pochi_cli.inference.model import is_encoder

    if is_encoder(model, work_dir):
        if unlabelled or overrides:
            name = "--unlabelled" if unlabelled else "--set"
            raise typer.BadParameter("has no meaning for an encoder of vectors", param_hint=name)
        _show_evaluation(
            api.evaluate(api.load_encoder(model, work_dir, device), data, output), as_json=as_json
        )
        return
    from pochi_cli.display import counting
    from pochi_cli.inference.summary_text import describe_summary

    changes = [*(overrides or ()), *([] if device is None else [f"device={quoted(device)}"])]
    loaded = api.load_model(model, work_dir, changes)
    for message in loaded.messages:
        console.note(message)
    with counting("predicting images") as progress:
        done = api.infer(loaded, data, output, unlabelled=unlabelled, tell=progress)
    _tell_doubts(done)
    if as_json:
        console.show_values(done.to_record())
        return
    title, fields = describe_summary(done.summary)
    console.show_fields(title, [*fields, ("results", str(done.layout.directory))])
    if done.source.is_labelled:
        _show_classes(done)
    else:
        _show_predictions(done)


def _show_evaluation(done: EncoderEvaluation, *, as_json: bool) -> None:
    from pochi_cli import console
    from pochi_cli.inference import encoder_summary as text

    if as_json:
        console.show_values(done.to_record())
        return
    summary = done.summary
    title, fields = text.describe_encoder(summary)
    console.show_fields(title, [*fields, ("results", str(done.layout.directory))])
    header = text.recall_header(summary.recalls)
    console.show("")
    console.show_listing(
        header, text.recall_rows(summary.recalls), right=header[1:], shortened=(), left_out=()
    )
    console.show(f"\n{text.recall_verdict(summary.recalls, done.metric)}")


def _tell_doubts(done: Inference) -> None:
    from pochi_cli import console
    from pochi_cli.plots.inference import missing_fonts

    for text in done.source.warnings:
        console.note(f"warning: {text}")
    for path, reason in list(done.summary.skipped.items())[:_TOLD_PATHS]:
        console.note(f"warning: left out {path}: {reason}")
    if (rest := len(done.summary.skipped) - _TOLD_PATHS) > 0:
        console.note(f"warning: left out {rest:,} more, which the summary lists")
    if done.scores is not None and (advice := missing_fonts(done.summary.class_names, done.look)):
        console.note(f"warning: {advice}")


def _show_classes(done: Inference) -> None:
    from pochi_cli import console
    from pochi_cli.inference import summary_text as text

    assert done.scores is not None  # it has labels
    title, rows = text.class_rows(done.scores)
    console.show(f"\n{title}")
    console.show_listing(
        text.CLASS_HEADER, rows, right=text.CLASS_NUMBERS, shortened=("class",), left_out=text.CLASS_LEFT_OUT
    )
    if confusions := text.confusion_rows(done.scores):
        console.show("\nMost often mistaken")
        console.show_listing(
            text.CONFUSION_HEADER,
            confusions,
            right=text.CONFUSION_HEADER[2:],
            shortened=("true", "predicted"),
            left_out=(),
        )


def _show_predictions(done: Inference) -> None:
    from pochi_cli import console
    from pochi_cli.characters import unicode_text
    from pochi_cli.inference import summary_text as text

    predictions = done.answers.predictions
    console.show("")
    console.show_listing(
        text.PREDICTION_HEADER,
        text.prediction_rows(predictions, unicode_text(done.source.index.root)),
        right=("confidence",),
        shortened=("image", "predicted"),
        left_out=(),
    )
    if (rest := len(predictions) - text.MOST_ROWS) > 0:
        console.show(f"and {rest:,} more, in {done.layout.predictions}")
