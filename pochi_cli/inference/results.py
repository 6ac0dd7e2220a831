"""What was inferred, to and from its files: predictions, summary, per-class report. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pochi_cli.errors import RunError
from pochi_cli.inference.confusion import ConfusionMatrix, write_confusion_matrix
from pochi_cli.inference.predictions import Predictions
from pochi_cli.inference.scores import ClassScore, Scores
from pochi_cli.runs.atomic import write_json, write_text
from pochi_cli.runs.index import Run, choose_checkpoint
from pochi_cli.runs.inference_layout import InferenceLayout, inferences_in
from pochi_cli.runs.records import read_bytes, read_json
from pochi_cli.runs.rows import distinct_unicode, read_table, write_table
from pochi_cli.runs.typed import Moment, read_fields

_REPORT_HEADER = ["class", "precision", "recall", "f1", "support"]
_PNG_BEGINNING, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


@dataclass(frozen=True)
class InferenceSummary:
    """What an inference came to; the contents of its JSON.

    Attributes:
        created_at: When.
        run: Name of the run; `None` for a checkpoint elsewhere.
        experiment_id: UUID of the run, likewise.
        checkpoint: The file.
        epoch: Finished epochs when it was written.
        is_averaged: Whether its weights are averaged.
        model_name: The network.
        class_names: In the order of the labels.
        input_size: Height and width in pixels of what the network got.
        device, precision, channels_last: What it ran on.
        data: Where the images are.
        is_validation: Whether they are the validation data of the training.
        data_fingerprint: SHA-256 over the images' paths and sizes.
        altered: Keys on which the answers depend, and that were not as in training.
        images: How many were predicted.
        skipped: Those that cannot be decoded: path and reason of each.
        scores: Names of metrics and their values; empty without labels. Accuracies are in percent.
        batch_size, num_workers: How they were loaded.
        forward_images_per_second: Images through the forward pass alone.
        images_per_second: Images from their files to their predictions.
    """

    created_at: Moment
    run: str | None
    experiment_id: str | None
    checkpoint: str
    epoch: int
    is_averaged: bool
    model_name: str
    class_names: tuple[str, ...]
    input_size: tuple[int, ...]
    device: str
    precision: str
    channels_last: bool
    data: str
    is_validation: bool
    data_fingerprint: str
    altered: tuple[str, ...]
    images: int
    skipped: Mapping[str, Any]
    scores: Mapping[str, Any]
    batch_size: int
    num_workers: int
    forward_images_per_second: float
    images_per_second: float


def describe_scores(scores: Scores, loss: float) -> dict[str, float | None]:
    """Name the metrics of all classes together; accuracies are in percent, all others as they are defined."""
    return {
        "accuracy": scores.accuracy,
        "top5_accuracy": scores.top5_accuracy,
        "loss": loss,
        "macro_precision": scores.macro.precision,
        "macro_recall": scores.macro.recall,
        "macro_f1": scores.macro.f1,
        "weighted_f1": scores.weighted.f1,
        "macro_roc_auc": scores.macro_area,
        "macro_average_precision": scores.macro_average_precision,
        "expected_calibration_error": scores.calibration.error,
    }


def write_predictions(layout: InferenceLayout, predictions: Predictions) -> None:
    """Write one row for each image: what was predicted, what is right, and the most probable classes.

    Raises:
        StorageError: Writing failed.
    """
    write_table(layout.predictions, _prediction_rows(predictions))


def _prediction_rows(predictions: Predictions) -> Iterator[list[object]]:
    names, shares = predictions.class_names, predictions.probabilities
    places = range(1, predictions.top.shape[1] + 1)
    yield [
        *("image_path", "predicted", "predicted_class", "true", "true_class", "confidence", "correct"),
        *(f"top{place}_{what}" for place in places for what in ("class", "probability")),
    ]
    for at, path in enumerate(predictions.paths):
        label = int(predictions.predicted[at])
        known: list[object] = ["", "", ""]
        if predictions.labels is not None and predictions.correct is not None:
            true = int(predictions.labels[at])
            known = [true, names[true], "true" if predictions.correct[at] else "false"]
        top = ((names[i], repr(float(shares[at, i]))) for i in predictions.top[at])
        confidence = repr(float(predictions.confidence[at]))
        yield [
            path,
            label,
            names[label],
            *known[:2],
            confidence,
            known[2],
            *(x for pair in top for x in pair),
        ]


def write_scores(layout: InferenceLayout, scores: Scores) -> None:
    """Write the per-class report and the confusion matrix.

    Raises:
        StorageError: Writing failed.
    """
    rows = [
        [row.name, repr(row.precision), repr(row.recall), repr(row.f1), row.support]
        for row in (*scores.classes, scores.macro, scores.weighted)
    ]
    write_table(layout.class_report, [_REPORT_HEADER, *rows])
    write_confusion_matrix(layout.confusion_matrix, ConfusionMatrix(scores.class_names, scores.confusion))


def write_summary(layout: InferenceLayout, summary: InferenceSummary, text: str) -> None:
    """Write the summary, last of all files: an inference without one was not finished.

    Raises:
        StorageError: Writing failed.
    """
    write_text(layout.summary_text, distinct_unicode(text))
    write_json(layout.summary_json, asdict(summary))


def read_summary(layout: InferenceLayout) -> InferenceSummary:
    """Read a summary.

    Raises:
        RunError: It is missing or damaged.
    """
    try:
        return read_fields(InferenceSummary, read_json(layout.summary_json))
    except ValueError as error:
        raise RunError(f"{layout.summary_json} is damaged: {error}") from error


@dataclass(frozen=True)
class PredictedImage:
    """A row of the predictions.

    Attributes:
        path: The image.
        predicted: The predicted class.
        true: The right one; `None` where it is not known.
        confidence: Probability of the predicted class, 0 to 1.
    """

    path: str
    predicted: str
    true: str | None
    confidence: float


def read_predictions(layout: InferenceLayout) -> list[PredictedImage]:
    """Read the predictions, without the classes that came second and later.

    Raises:
        RunError: They are missing or damaged.
    """
    rows = read_table(layout.predictions)
    columns = {name: at for at, name in enumerate(rows[0])}
    try:
        path, predicted, true, confidence = (
            columns[name] for name in ("image_path", "predicted_class", "true_class", "confidence")
        )
        return [
            PredictedImage(row[path], row[predicted], row[true] or None, float(row[confidence]))
            for row in rows[1:]
        ]
    except (KeyError, IndexError, ValueError) as error:
        raise RunError(f"{layout.predictions} is damaged: {error}") from error


def read_class_report(layout: InferenceLayout) -> list[ClassScore]:
    """Read the per-class report; the last two rows are the averages.

    Raises:
        RunError: It is missing or damaged.
    """
    rows = read_table(layout.class_report)
    try:
        if rows[0] != _REPORT_HEADER or len(rows) < 3:
            raise ValueError(f"it does not begin with {','.join(_REPORT_HEADER)}, or has no averages")
        return [
            ClassScore(name, float(precision), float(recall), float(f1), int(support))
            for name, precision, recall, f1, support in rows[1:]
        ]
    except ValueError as error:
        raise RunError(f"{layout.class_report} is damaged: {error}") from error


@dataclass(frozen=True, eq=False)
class InferenceResults:
    """What the files of an inference of labelled images hold.

    Attributes:
        layout: Where they are.
        summary: What it came to.
        images: What was predicted of each.
        classes: The per-class report, without the averages.
        averages: Those: macro and weighted.
        figures: The pictures, as PNG.
    """

    layout: InferenceLayout
    summary: InferenceSummary
    images: Sequence[PredictedImage]
    classes: Sequence[ClassScore]
    averages: Sequence[ClassScore]
    figures: Sequence[bytes]


def read_results(layout: InferenceLayout) -> InferenceResults:
    """Read the results of labelled images.

    Raises:
        RunError: A file is missing or damaged.
    """
    *classes, macro, weighted = read_class_report(layout)
    return InferenceResults(
        layout=layout,
        summary=read_summary(layout),
        images=read_predictions(layout),
        classes=classes,
        averages=(macro, weighted),
        figures=[_read_png(path) for path in layout.figures],
    )


def latest_of_validation(run: Run, fingerprint: str | None) -> InferenceResults | None:
    """Find the newest whole results of a run's validation data with the model that it has now.

    Args:
        run: The run.
        fingerprint: Of the validation data as they are now; `None` where they are not to be had.

    Raises:
        RunError: The run has no model.
    """
    epoch = choose_checkpoint(run).epoch
    for layout in reversed(inferences_in(run.layout.inference_results)):
        with suppress(RunError):  # damaged ones are passed over
            summary = read_summary(layout)
            is_of_now = fingerprint in (None, summary.data_fingerprint)
            if summary.is_validation and summary.epoch == epoch and is_of_now and not summary.altered:
                return read_results(layout)
    return None


def _read_png(path: Path) -> bytes:
    content = read_bytes(path)
    if not (content.startswith(_PNG_BEGINNING) and content.endswith(_PNG_END)):
        raise RunError(f"{path} is damaged: it is no whole PNG")
    return content
