"""What an inference came to, in words. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from pochi_cli.characters import visible
from pochi_cli.data.findings import counted
from pochi_cli.inference.predictions import Predictions
from pochi_cli.inference.results import InferenceSummary
from pochi_cli.inference.scores import ClassScore, Scores
from pochi_cli.runs.quantities import metric_text

_SCORES = {
    "accuracy": "accuracy",
    "top5_accuracy": "top-5 accuracy",
    "loss": "loss",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "macro_roc_auc": "macro ROC AUC",
    "macro_average_precision": "macro average precision",
    "expected_calibration_error": "calibration error",
}
"""What the metrics are called, in the order in which they are told."""

CLASS_HEADER = ("class", "precision", "recall", "F1", "images")
CLASS_NUMBERS = CLASS_HEADER[1:]
CLASS_LEFT_OUT = ("precision", "recall")
PREDICTION_HEADER = ("image", "predicted", "confidence")
CONFUSION_HEADER = ("true", "predicted", "images", "of the class")
MOST_ROWS = 20
"""Rows of a table in the terminal; the files have all."""


def describe_summary(summary: InferenceSummary) -> tuple[str, list[tuple[str, str]]]:
    """Tell in words what an inference came to.

    Returns:
        A title, and pairs of a name and a text.
    """
    of = "the validation data, " if summary.is_validation else ""
    title = f"{counted(summary.images, 'image')} of {of}{summary.data}"
    return title, list(_fields(summary))


def summary_text(summary: InferenceSummary) -> str:
    """Write the same as the text of a file."""
    title, fields = describe_summary(summary)
    width = max(len(name) for name, _ in fields)
    return "\n".join([title, "", *(f"{name:<{width}}  {text}" for name, text in fields)]) + "\n"


def describe_values(summary: InferenceSummary) -> list[tuple[str, str]]:
    """Name the metrics that there are, with their values."""
    values = ((name, summary.scores.get(key), key) for key, name in _SCORES.items())
    return [(name, _value(key, value)) for name, value, key in values if value is not None]


def _fields(summary: InferenceSummary) -> Iterator[tuple[str, str]]:
    yield from describe_values(summary)
    if not summary.scores:
        yield "scores", "none: the images have no labels"
    if summary.altered:
        yield "not as in training", ", ".join(summary.altered)
    if summary.skipped:
        yield "left out", f"{counted(len(summary.skipped), 'image')} that cannot be decoded"
    averaged = ", averaged weights" if summary.is_averaged else ""
    yield "model", f"{summary.model_name} after epoch {summary.epoch}{averaged}"
    yield "checkpoint", summary.checkpoint
    height, width = summary.input_size
    yield "input", f"{height} x {width} px (height x width)"
    layout = ", channels last" if summary.channels_last else ""
    yield "computed on", f"{summary.device} in {summary.precision}{layout}"
    batches = f"batches of {summary.batch_size}"
    yield "forward pass", f"{summary.forward_images_per_second:.4g} images/s, {batches}"
    loading = (
        f"loaded by {counted(summary.num_workers, 'process', 'processes')}"
        if summary.num_workers
        else "loaded in between"
    )
    yield "end to end", f"{summary.images_per_second:.4g} images/s, {loading}"


def _value(key: str, value: Any) -> str:
    number = float(value)
    if key.endswith("accuracy"):
        return metric_text(key, number)
    if key == "expected_calibration_error":
        return f"{100 * number:.2f} %"
    return f"{number:.4f}"


def class_rows(scores: Scores) -> tuple[str, list[tuple[str, ...]]]:
    """Write the classes as cells below `CLASS_HEADER`: of many those with the least F1.

    Returns:
        A title, and the rows.
    """
    known = [row for row in scores.classes if row.support]
    if len(known) <= MOST_ROWS:
        return "Classes", [_class_row(row) for row in known]
    worst = sorted(known, key=lambda row: row.f1)[:MOST_ROWS]
    return f"The {MOST_ROWS} of {len(known):,} classes with the least F1", [_class_row(row) for row in worst]


def _class_row(row: ClassScore) -> tuple[str, ...]:
    return (
        visible(row.name),
        f"{row.precision:.4f}",
        f"{row.recall:.4f}",
        f"{row.f1:.4f}",
        f"{row.support:,}",
    )


def confusion_rows(scores: Scores, most: int = 5) -> list[tuple[str, ...]]:
    """Write the classes that are most often taken for another as cells below `CONFUSION_HEADER`."""
    counts, names = scores.confusion, [visible(name) for name in scores.class_names]
    pairs = [(int(counts[i, j]), i, j) for i, j in np.argwhere(counts) if i != j]
    pairs.sort(key=lambda pair: -pair[0])
    return [
        (names[true], names[predicted], f"{count:,}", f"{100 * count / counts[true].sum():.1f} %")
        for count, true, predicted in pairs[:most]
    ]


def prediction_rows(predictions: Predictions, root: str, most: int = MOST_ROWS) -> list[tuple[str, ...]]:
    """Write the first predictions as cells below `PREDICTION_HEADER`, with the paths inside a directory."""
    rows = zip(predictions.paths, predictions.predicted_names, predictions.confidence, strict=True)
    return [
        (visible(path.removeprefix(f"{root}/")), visible(name), f"{100 * confidence:.1f} %")
        for path, name, confidence in islice(rows, most)
    ]
