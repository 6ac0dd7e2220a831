"""Scores equal scikit-learn's on the same predictions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    classification_report,
    confusion_matrix,
    log_loss,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
    top_k_accuracy_score,
)

from pochi_cli.inference.predictions import Predictions
from pochi_cli.inference.scores import calibrate, score


def make_predictions(classes: int, images: int = 400, seed: int = 0, sharpness: float = 1.5) -> Predictions:
    """Predictions that are right more often than not."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images)
    logits = random.normal(size=(images, classes))
    logits[np.arange(images), labels] += sharpness
    names = tuple(f"class {label}" for label in range(classes))
    paths = tuple(f"{at}.png" for at in range(images))
    return Predictions(names, paths, logits.astype(np.float32), labels)


@pytest.fixture(params=[2, 7, 12])
def predictions(request: pytest.FixtureRequest) -> Predictions:
    return make_predictions(request.param)


def test_the_probabilities_are_the_softmax_and_its_largest_the_prediction(predictions: Predictions) -> None:
    exact = np.exp(predictions.logits.astype(np.float64))
    exact /= exact.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predictions.probabilities, exact, rtol=1e-12)
    np.testing.assert_array_equal(predictions.predicted, exact.argmax(axis=1))
    np.testing.assert_array_equal(predictions.confidence, predictions.probabilities.max(axis=1))
    np.testing.assert_array_equal(predictions.top[:, 0], predictions.predicted)


def test_large_logits_are_no_nan() -> None:
    found = Predictions(("a", "b"), ("x",), np.array([[1000.0, -1000.0]], dtype=np.float32))
    np.testing.assert_array_equal(found.probabilities, [[1.0, 0.0]])


def test_of_equal_logits_the_first_class_is_predicted() -> None:
    found = Predictions(("a", "b", "c"), ("x",), np.zeros((1, 3), dtype=np.float32))
    assert found.predicted.tolist() == [0]
    assert found.top.tolist() == [[0, 1, 2]]


def test_the_class_report_is_scikit_learns(predictions: Predictions) -> None:
    scores = score(predictions)
    labels = range(len(predictions.class_names))
    wanted = classification_report(
        predictions.labels,
        predictions.predicted,
        labels=labels,
        target_names=predictions.class_names,
        output_dict=True,
        zero_division=0,
    )
    for row in (*scores.classes, scores.macro, scores.weighted):
        assert (row.precision, row.recall, row.f1, row.support) == tuple(
            wanted[row.name][name] for name in ("precision", "recall", "f1-score", "support")
        )


def test_accuracy_top5_and_confusions_are_scikit_learns(predictions: Predictions) -> None:
    scores, count = score(predictions), len(predictions.class_names)
    assert scores.accuracy == pytest.approx(
        100 * accuracy_score(predictions.labels, predictions.predicted), rel=1e-15
    )
    if count <= 5:
        assert scores.top5_accuracy is None
    else:
        top = top_k_accuracy_score(predictions.labels, predictions.logits, k=5, labels=range(count))
        assert scores.top5_accuracy == pytest.approx(100 * top, rel=1e-15)
        assert scores.top5_accuracy is not None
        assert scores.top5_accuracy > scores.accuracy
    np.testing.assert_array_equal(
        scores.confusion, confusion_matrix(predictions.labels, predictions.predicted)
    )


def test_the_curves_are_scikit_learns(predictions: Predictions) -> None:
    scores = score(predictions)
    assert [curve.label for curve in scores.curves] == list(range(len(predictions.class_names)))
    assert predictions.labels is not None
    for curve in scores.curves:
        is_true, values = predictions.labels == curve.label, predictions.probabilities[:, curve.label]
        false_rate, true_rate, _ = roc_curve(is_true, values)
        precision, recall, _ = precision_recall_curve(is_true, values, drop_intermediate=True)
        np.testing.assert_array_equal(curve.false_positive_rate, false_rate)
        np.testing.assert_array_equal(curve.true_positive_rate, true_rate)
        np.testing.assert_array_equal(curve.precision, precision)
        np.testing.assert_array_equal(curve.recall, recall)
        assert curve.area == pytest.approx(roc_auc_score(is_true, values), rel=1e-12)
        assert curve.average_precision == average_precision_score(is_true, values)
    if len(predictions.class_names) > 2:
        wanted = roc_auc_score(predictions.labels, predictions.probabilities, multi_class="ovr")
        assert scores.macro_area == pytest.approx(wanted, rel=1e-12)


def test_the_calibration_is_scikit_learns(predictions: Predictions) -> None:
    found = score(predictions).calibration
    accuracy, confidence = calibration_curve(predictions.correct, predictions.confidence, n_bins=15)
    filled = found.counts > 0
    np.testing.assert_allclose(found.accuracy[filled], accuracy, rtol=1e-12)
    np.testing.assert_allclose(found.confidence[filled], confidence, rtol=1e-12)
    assert np.isnan(found.accuracy[~filled]).all()
    assert found.counts.sum() == len(predictions)
    error = (np.abs(accuracy - confidence) * found.counts[filled]).sum() / len(predictions)
    assert found.error == pytest.approx(error, rel=1e-12)


def test_the_calibration_error_is_the_mean_gap() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    correct = np.array([True, True, True, False, True, False])
    assert calibrate(confidence, correct).error == pytest.approx((4 * 0.15 + 2 * 0.0) / 6)
    assert calibrate(np.array([1.0, 0.0]), np.array([True, False])).counts[[0, -1]].tolist() == [1, 1]


def test_a_class_without_images_has_no_curve_and_is_in_no_average_unless_predicted() -> None:
    logits = np.array([[3, 0, 0, 0], [0, 3, 0, 0], [3, 0, 0, 0], [0, 0, 3, 0]], dtype=np.float32)
    found = Predictions(("a", "b", "c", "d"), tuple("wxyz"), logits, np.array([0, 1, 1, 1]))
    scores = score(found)
    assert [curve.label for curve in scores.curves] == [0, 1]
    assert [row.support for row in scores.classes] == [1, 3, 0, 0]
    assert scores.macro.recall == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert scores.confusion.shape == (4, 4)


def test_one_class_alone_has_no_curve_at_all() -> None:
    found = Predictions(("a", "b"), ("x",), np.array([[1.0, 0.0]], dtype=np.float32), np.array([0]))
    scores = score(found)
    assert (scores.curves, scores.macro_area, scores.macro_average_precision) == ((), None, None)
    assert scores.accuracy == 100.0


def test_the_loss_of_the_probabilities_is_scikit_learns(predictions: Predictions) -> None:
    assert predictions.labels is not None
    own = -np.log(predictions.probabilities[np.arange(len(predictions)), predictions.labels]).mean()
    labels = range(len(predictions.class_names))
    assert own == pytest.approx(log_loss(predictions.labels, predictions.probabilities, labels=labels))
