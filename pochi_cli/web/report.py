"""One page that tells all about a run."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pochi_cli.data.folder import FolderIndex
from pochi_cli.errors import RunError
from pochi_cli.inference.mistakes import Mistake, most_confident_mistakes, with_pictures
from pochi_cli.inference.results import (
    InferenceSummary,
    read_class_report,
    read_png,
    read_predictions,
    read_summary,
)
from pochi_cli.inference.scores import ClassScore
from pochi_cli.inference.summary_text import describe_summary, describe_values
from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.monitor_report import inspect_monitor
from pochi_cli.inspection.monitor_text import describe_report
from pochi_cli.inspection.verdicts import judge_gradients
from pochi_cli.plots.files import figure_png
from pochi_cli.plots.gradient_epochs import draw_heatmap
from pochi_cli.plots.metrics import draw_accuracy, draw_layer_rates, draw_loss
from pochi_cli.plots.monitor import draw_monitor
from pochi_cli.runs.details import RunDetails, read_details
from pochi_cli.runs.details_text import describe_details
from pochi_cli.runs.gradient_record import read_gradient_epochs
from pochi_cli.runs.gradient_trace import read_gradient_trace
from pochi_cli.runs.index import Run
from pochi_cli.runs.layout import InferenceLayout
from pochi_cli.runs.quantities import duration_text, metric_text
from pochi_cli.runs.records import require_file
from pochi_cli.web.pages import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MISTAKES = 48
_WIDE = 1.7
"""Width over height from which a picture gets the whole width of the page."""
_LARGE = 1600
"""Pixels in a picture's width from which its texts would be too small there."""
_FEW_CLASSES = 30
"""Up to here the table of classes stands open."""

_TILES = ("macro F1", "loss", "calibration error", "macro ROC AUC")
"""Metrics that are told first."""

Fields = Sequence[tuple[str, str]]


class Picture(NamedTuple):
    """A picture in the page.

    Attributes:
        title: What it shows, for those who cannot see it.
        url: The picture itself, as a `data:` URL.
        kind: `wide` for one that needs the whole width of the page, `large` for one that is larger than that.
    """

    title: str
    url: str
    kind: Literal["", "wide", "large"]


@dataclass(frozen=True)
class Part:
    """What was recorded of a training, judged.

    Attributes:
        fields: Names and values.
        findings: The verdicts.
        pictures: What it looks like.
    """

    fields: Fields
    findings: Sequence[Finding]
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class InferencePart:
    """What the model makes of its validation data.

    Attributes:
        summary: What it came to.
        fields: The same as names and values.
        classes: The per-class report, without the averages.
        averages: Those.
        pictures: Confusion matrix, calibration, curves.
        mistakes: The most confident ones.
        wrong: How many there are.
    """

    summary: InferenceSummary
    fields: Fields
    classes: Sequence[ClassScore]
    averages: Sequence[ClassScore]
    pictures: Sequence[Picture]
    mistakes: Sequence[Mistake]
    wrong: int


def report_page(
    run: Run,
    now: datetime,
    inferred: InferenceLayout | None,
    index: FolderIndex | None = None,
    obstacle: str | None = None,
) -> str:
    """Write the page from the files of a run.

    Args:
        run: The run.
        now: The time.
        inferred: What was inferred of its validation data, if anything.
        index: The images of these, where they are to be had.
        obstacle: Why nothing was inferred.

    Raises:
        RunError: A file is damaged.
    """
    details = read_details(run, now)
    title, facts = describe_details(details)
    part = None if inferred is None else _inference_part(inferred, index)
    return render(
        "report.html",
        title=f"Pochi: {title}",
        heading=title,
        written=f"{now:%Y-%m-%d %H:%M}",
        tiles=list(_tiles(details, part)),
        facts=facts,
        curves=list(_curves(run)),
        training=_training_part(run),
        gradients=_gradient_part(run),
        inference=part,
        obstacle=obstacle,
        doubt=None if part is None else _doubt(run, part.summary),
        few_classes=_FEW_CLASSES,
        config=_config_text(run),
    )


def _doubt(run: Run, summary: InferenceSummary) -> str | None:
    best = run.record.best_epoch
    if best in (None, summary.epoch):
        return None
    return f"The best checkpoint, of epoch {best}, is gone: these predictions are of epoch {summary.epoch}."


def _tiles(details: RunDetails, part: InferencePart | None) -> Iterator[tuple[str, str]]:
    record = details.run.record
    if record.best_value is not None:
        name = f"best {record.best_metric.replace('_', ' ')}, epoch {record.best_epoch}"
        yield name, metric_text(record.best_metric, record.best_value, 2)
    if part is not None:
        values = describe_values(part.summary)
        yield from ((name, text) for name, text in values if name in _TILES)
    yield f"of {record.epochs:,} epochs", f"{record.epochs_done:,}"
    yield "training", duration_text(record.duration_s)


def _curves(run: Run) -> Iterator[Picture]:
    history = run.history
    if not len(history):
        return
    has_layer_rates = bool(history.epochs[0].layer_rates)
    yield _picture("Loss over the epochs", draw_loss(history))
    yield _picture("Accuracy over the epochs", draw_accuracy(history, show_learning_rate=not has_layer_rates))
    if has_layer_rates:
        use_log_scale = run.config.layer_wise_lr_config.graph_config.use_log_scale
        yield _picture("Learning rates of the layers", draw_layer_rates(history, use_log_scale=use_log_scale))


def _training_part(run: Run) -> Part:
    report = inspect_monitor(run)
    _, fields = describe_report(report)
    pictures = [] if report.seen is None else [_picture("The training, step by step", draw_monitor(report))]
    return Part(fields, report.findings, pictures)


def _gradient_part(run: Run) -> Part | None:
    epochs = read_gradient_epochs(run.layout)
    if not epochs:
        return None
    trace = read_gradient_trace(run.layout.gradient_trace)
    heatmap = _picture("Gradient norms of the layers over the epochs", draw_heatmap(trace))
    recorded = f"{len(epochs):,}, {epochs[0].epoch} to {epochs[-1].epoch}"
    return Part([("recorded epochs", recorded)], judge_gradients(epochs), [heatmap])


def _inference_part(layout: InferenceLayout, index: FolderIndex | None) -> InferencePart:
    summary = read_summary(layout)
    images = read_predictions(layout)
    *classes, macro, weighted = read_class_report(layout)
    titles = ("Confusion matrix", "Calibration", "ROC and precision-recall curves")
    return InferencePart(
        summary=summary,
        fields=describe_summary(summary)[1],
        classes=classes,
        averages=(macro, weighted),
        pictures=[
            _embedded(title, read_png(path)) for title, path in zip(titles, layout.figures, strict=True)
        ],
        mistakes=with_pictures(most_confident_mistakes(images, _MISTAKES), index),
        wrong=sum(image.predicted != image.true for image in images),
    )


def _picture(title: str, figure: Figure) -> Picture:
    return _embedded(title, figure_png(figure))


def _embedded(title: str, png: bytes) -> Picture:
    # The header of every PNG has them at this place (ISO/IEC 15948, 11.2.2).
    width, height = struct.unpack(">II", png[16:24])
    url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    if width > _LARGE and width <= _WIDE * height:
        return Picture(title, url, "large")
    return Picture(title, url, "wide" if width > _WIDE * height else "")


def _config_text(run: Run) -> str:
    return _read(run.layout.config_toml).decode("utf-8", "replace")


def _read(path: Path) -> bytes:
    require_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
