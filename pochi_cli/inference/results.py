"""What was inferred, as files: predictions, summary, per-class report, confusion matrix. Free of torch."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pochi_cli.errors import RunError
from pochi_cli.inference.predictions import Predictions
from pochi_cli.inference.scores import ClassScore, Counts, Scores
from pochi_cli.runs.atomic import write_json, write_text
from pochi_cli.runs.index import Run, choose_checkpoint, find_run, names_file
from pochi_cli.runs.layout import InferenceLayout, inferences_in
from pochi_cli.runs.records import read_json, require_file
from pochi_cli.runs.rows import csv_lines
from pochi_cli.runs.typed import Moment, read_fields

_CORNER = "true/predicted"
_REPORT_HEADER = ["class", "precision", "recall", "f1", "support"]
_PNG_BEGINNING, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_MATRIX_FORM = (
    f"a confusion matrix is a CSV of the form {_CORNER},<class>,... with a row of counts for each class, "
    "in the same order"
)


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
    _write_csv(layout.predictions, _prediction_rows(predictions))


def _write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    write_text(path, _unicode(csv_lines(rows)))


def _unicode(text: str) -> str:
    """Write what is no Unicode in names as escapes: two names must not become one."""
    return text.encode("utf-8", "backslashreplace").decode()


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
    _write_csv(layout.class_report, [_REPORT_HEADER, *rows])
    matrix = [
        [name, *counts.tolist()] for name, counts in zip(scores.class_names, scores.confusion, strict=True)
    ]
    header = [_CORNER, *scores.class_names]
    _write_csv(layout.confusion_matrix, [header, *matrix])


def write_summary(layout: InferenceLayout, summary: InferenceSummary, text: str) -> None:
    """Write the summary, last of all files: an inference without one was not finished.

    Raises:
        StorageError: Writing failed.
    """
    write_text(layout.summary_text, _unicode(text))
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


def latest_of_validation(run: Run, fingerprint: str | None) -> InferenceLayout | None:
    """Find the newest whole inference of a run's validation data with the model that it has now.

    Args:
        run: The run.
        fingerprint: Of the validation data as they are now; `None` where they are not to be had.

    Raises:
        RunError: The run has no model.
    """
    epoch = choose_checkpoint(run).epoch
    for layout in reversed(inferences_in(run.layout.inference_results)):
        with suppress(RunError):  # a damaged one is passed over
            summary = read_summary(layout)
            is_of_now = fingerprint in (None, summary.data_fingerprint)
            if summary.is_validation and summary.epoch == epoch and is_of_now and not summary.altered:
                read_predictions(layout)
                read_class_report(layout)
                for figure in layout.figures:
                    read_png(figure)
                return layout
    return None


def read_png(path: Path) -> bytes:
    """Read a picture.

    Raises:
        RunError: It is missing, or no whole PNG.
    """
    require_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    if not (content.startswith(_PNG_BEGINNING) and content.endswith(_PNG_END)):
        raise RunError(f"{path} is damaged: it is no whole PNG")
    return content


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
    rows = _read_csv(layout.predictions)
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
    rows = _read_csv(layout.class_report)
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
class ConfusionMatrix:
    """Images by true class (row) and predicted class (column).

    Attributes:
        class_names: Name of each class.
        counts: int64 (K, K).
    """

    class_names: tuple[str, ...]
    counts: Counts


@dataclass(frozen=True)
class ConfusionFile:
    """Where a confusion matrix lies.

    Attributes:
        path: The CSV.
        run: The run that it is of, where it was found by that.
    """

    path: Path
    run: Run | None = None


def find_confusion_matrix(reference: str, work_dir: Path) -> ConfusionFile:
    """Find a confusion matrix: the newest of a run, or a CSV.

    Args:
        reference: The path of a CSV, or what names a run.
        work_dir: Where runs are looked up by all but a path.

    Raises:
        RunError: There is no such run, or it has none.
    """
    if names_file(reference, ".csv"):
        return ConfusionFile(Path(reference))
    run = find_run(reference, work_dir)
    for layout in reversed(inferences_in(run.layout.inference_results)):
        if layout.confusion_matrix.exists():
            return ConfusionFile(layout.confusion_matrix, run)
    raise RunError(
        f"nothing was inferred with {run.layout.name} on images whose classes are known",
        hint=f"do so first: pochi infer {shlex.quote(str(run.directory))}",
    )


def read_confusion_matrix(path: Path) -> ConfusionMatrix:
    """Read the CSV of a confusion matrix, from Pochi or from another tool.

    Raises:
        RunError: It cannot be read or is something else; the message names row and column, from 1.
    """
    rows = _read_csv(path)
    names = rows[0][1:]
    try:
        if not names:
            raise ValueError("its first row names no class")
        if (given := [row[0] for row in rows[1:]]) != names:
            raise ValueError(f"its columns are {_few(names)} and its rows {_few(given)}")
        counts = np.array(
            [_read_counts(row, number, len(names)) for number, row in enumerate(rows[1:], 2)], dtype=np.int64
        )
    except ValueError as error:
        raise RunError(f"{path} is no confusion matrix: {error}", hint=_MATRIX_FORM) from error
    return ConfusionMatrix(tuple(names), counts)


def _read_counts(row: Sequence[str], number: int, columns: int) -> list[int]:
    if len(row) != columns + 1:
        raise ValueError(f"row {number} has {len(row)} cells, the first {columns + 1}")
    for column, cell in enumerate(row[1:], 2):
        if not (cell.strip().isascii() and cell.strip().isdecimal() and len(cell.strip()) <= 15):
            raise ValueError(f"row {number}, column {column}: {cell!r} is no count")
    return [int(cell) for cell in row[1:]]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _read_csv(path: Path) -> list[list[str]]:
    require_file(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    if not rows:
        raise RunError(f"{path} is damaged: it is empty")
    return rows
