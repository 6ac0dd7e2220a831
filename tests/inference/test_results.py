"""The files of an inference say what was predicted, and are read back."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pochi_cli.errors import RunError
from pochi_cli.inference.confusion import read_confusion_matrix
from pochi_cli.inference.mistakes import most_confident_mistakes, predicted_images
from pochi_cli.inference.predictions import Predictions
from pochi_cli.inference.results import (
    read_class_report,
    read_predictions,
    write_predictions,
    write_scores,
)
from pochi_cli.inference.scores import score
from pochi_cli.runs.inference_layout import InferenceLayout
from tests.inference.test_scores import make_predictions

ODD = ("=1+1", 'a "quoted", name', "猫", "<b>", "a\nb", "-x")


@pytest.fixture
def layout(tmp_path: Path) -> InferenceLayout:
    return InferenceLayout(tmp_path)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("classes", [2, 12])
def test_every_image_has_its_row_in_full_precision(layout: InferenceLayout, classes: int) -> None:
    found = make_predictions(classes, images=20)
    write_predictions(layout, found)
    written = rows(layout.predictions)
    assert [row["image_path"] for row in written] == list(found.paths)
    assert found.labels is not None and found.correct is not None
    for at, row in enumerate(written):
        assert (int(row["predicted"]), int(row["true"])) == (found.predicted[at], found.labels[at])
        assert row["predicted_class"] == f"class {found.predicted[at]}" == row["top1_class"]
        assert row["true_class"] == f"class {found.labels[at]}"
        assert row["correct"] == str(bool(found.correct[at])).lower()
        assert float(row["confidence"]) == found.confidence[at] == float(row["top1_probability"])
        shares = [float(row[f"top{place}_probability"]) for place in range(1, min(classes, 5) + 1)]
        assert shares == sorted(found.probabilities[at].tolist(), reverse=True)[:5]
    assert ("top5_class" in written[0]) == (classes > 5)


def test_what_is_not_known_is_empty(layout: InferenceLayout) -> None:
    write_predictions(layout, replace(make_predictions(3, images=2), labels=None))
    for row in rows(layout.predictions):
        assert (row["true"], row["true_class"], row["correct"]) == ("", "", "")
    assert [image.true for image in read_predictions(layout)] == [None, None]


def test_report_and_confusion_matrix_are_read_back_exactly(layout: InferenceLayout) -> None:
    found = replace(make_predictions(len(ODD)), class_names=ODD)
    scores = score(found)
    write_scores(layout, scores)
    write_predictions(layout, found)
    assert read_class_report(layout) == [*scores.classes, scores.macro, scores.weighted]
    matrix = read_confusion_matrix(layout.confusion_matrix)
    assert matrix.class_names == ODD
    np.testing.assert_array_equal(matrix.counts, scores.confusion)
    assert read_predictions(layout) == predicted_images(found)


def test_a_path_that_is_no_unicode_is_written(layout: InferenceLayout) -> None:
    found = Predictions(("a", "b"), ("caf\udce9.png",), np.zeros((1, 2), dtype=np.float32))
    write_predictions(layout, found)
    assert rows(layout.predictions)[0]["image_path"] == r"caf\udce9.png"


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", "image_path,predicted_class,true_class,confidence\nx,a,a,?\n"]
)
def test_damaged_predictions_are_told(layout: InferenceLayout, text: str) -> None:
    layout.predictions.write_text(text)
    with pytest.raises(RunError, match=r"predictions\.csv is damaged"):
        read_predictions(layout)


def test_the_most_confident_mistakes_come_first() -> None:
    found = make_predictions(4)
    images = predicted_images(found)
    shown = most_confident_mistakes(images, 10)
    assert len(shown) == 10
    assert [image.confidence for image in shown] == sorted(
        (image.confidence for image in images if image.predicted != image.true), reverse=True
    )[:10]
    assert not most_confident_mistakes(predicted_images(replace(found, labels=None)))
