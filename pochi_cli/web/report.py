"""One page that tells all about a run."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from pochi_cli.config.catalogue import CATALOGUE
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.data.folder import FolderIndex
from pochi_cli.inference.mistakes import Mistake, count_mistakes, most_confident_mistakes, with_pictures
from pochi_cli.inference.results import InferenceResults, InferenceSummary
from pochi_cli.inference.summary_text import describe_summary, describe_values
from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.monitor_report import inspect_monitor
from pochi_cli.inspection.monitor_text import describe_report
from pochi_cli.inspection.verdicts import judge_gradients
from pochi_cli.plots.experiment import draw_experiment
from pochi_cli.plots.files import figure_png
from pochi_cli.plots.gradient_epochs import draw_heatmap
from pochi_cli.plots.metrics import draw_accuracy, draw_layer_rates, draw_loss
from pochi_cli.plots.monitor import draw_monitor
from pochi_cli.runs.details import RunDetails, read_details
from pochi_cli.runs.details_text import describe_details
from pochi_cli.runs.epoch_text import BASELINES, metric_name
from pochi_cli.runs.experiment import read_experiment
from pochi_cli.runs.gradient_record import read_gradient_epochs
from pochi_cli.runs.gradient_trace import read_gradient_trace
from pochi_cli.runs.index import Run
from pochi_cli.runs.inspection_layout import InspectionLayout
from pochi_cli.runs.quantities import duration_text, metric_text
from pochi_cli.runs.records import read_bytes
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

_INFERENCE_FIGURES = ("Confusion matrix", "Calibration", "ROC and precision-recall curves")

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


class AttentionPart(NamedTuple):
    """Where the attention of a run's model can be looked at.

    Attributes:
        page: The explorer, from the report; `None` where it was not made.
        command: What makes it.
    """

    page: str | None
    command: str


def report_page(
    run: Run,
    now: datetime,
    results: InferenceResults | None,
    index: FolderIndex | None = None,
    obstacle: str | None = None,
) -> str:
    """Write the page from the files of a run.

    Args:
        run: The run.
        now: The time.
        results: What was inferred of its validation data, if anything.
        index: The images of these, where they are to be had.
        obstacle: Why nothing was inferred.

    Raises:
        RunError: A file is damaged.
    """
    details = read_details(run, now)
    title, facts = describe_details(details)
    pictures = () if results is None else zip(_INFERENCE_FIGURES, results.figures, strict=True)
    return render(
        "report.html",
        title=f"Pochi: {title}",
        heading=title,
        written=f"{now:%Y-%m-%d %H:%M}",
        tiles=list(_tiles(details, results)),
        facts=facts,
        curves=list(_curves(run)),
        training=_training_part(run),
        gradients=_gradient_part(run),
        attention=_attention_part(run),
        results=results,
        fields=() if results is None else describe_summary(results.summary)[1],
        pictures=[_embedded(title, png) for title, png in pictures],
        mistakes=() if results is None else _mistakes(results, index),
        wrong=0 if results is None else count_mistakes(results.images),
        obstacle=obstacle,
        doubt=None if results is None else _doubt(run, results.summary),
        few_classes=_FEW_CLASSES,
        config=read_bytes(run.layout.config_toml).decode("utf-8", "replace"),
    )


def _doubt(run: Run, summary: InferenceSummary) -> str | None:
    best = run.record.best_epoch
    if best in (None, summary.epoch):
        return None
    return f"The best checkpoint, of epoch {best}, is gone: these predictions are of epoch {summary.epoch}."


def _tiles(details: RunDetails, results: InferenceResults | None) -> Iterator[tuple[str, str]]:
    record = details.run.record
    if record.best_value is not None:
        name = f"best {metric_name(record.best_metric).replace('_', ' ')}, epoch {record.best_epoch}"
        yield name, metric_text(record.best_metric, record.best_value, 4 if record.baselines else 2)
    for baseline, values in (record.baselines or {}).items():
        if record.best_metric in values:
            yield f"of {BASELINES.get(baseline, baseline)}", f"{values[record.best_metric]:.4f}"
    if results is not None:
        values = describe_values(results.summary)
        yield from ((name, text) for name, text in values if name in _TILES)
    yield f"of {record.epochs:,} epochs", f"{record.epochs_done:,}"
    yield "training", duration_text(record.duration_s)


def _curves(run: Run) -> Iterator[Picture]:
    history = run.history
    if not len(history):
        return
    has_layer_rates = bool(history.epochs[0].layer_rates)
    if history.embedding:
        yield _picture("Losses and recall", draw_experiment(read_experiment(run, history)))
    else:
        yield _picture("Loss over the epochs", draw_loss(history))
        accuracy = draw_accuracy(history, show_learning_rate=not has_layer_rates)
        yield _picture("Accuracy over the epochs", accuracy)
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


def _attention_part(run: Run) -> AttentionPart | None:
    config = run.config
    if not isinstance(config, ClassificationConfig) or not CATALOGUE[config.model_name].has_attention:
        return None
    page = InspectionLayout(run.layout.visualization).explorer
    link = page.relative_to(run.directory).as_posix() if page.is_file() else None
    return AttentionPart(link, f"pochi inspect attention {run.layout.name}")


def _mistakes(results: InferenceResults, index: FolderIndex | None) -> list[Mistake]:
    return with_pictures(most_confident_mistakes(results.images, _MISTAKES), index)


def _picture(title: str, figure: Figure) -> Picture:
    return _embedded(title, figure_png(figure))


def _embedded(title: str, png: bytes) -> Picture:
    # The header of every PNG has them at this place (ISO/IEC 15948, 11.2.2).
    width, height = struct.unpack(">II", png[16:24])
    url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    if width > _LARGE and width <= _WIDE * height:
        return Picture(title, url, "large")
    return Picture(title, url, "wide" if width > _WIDE * height else "")
