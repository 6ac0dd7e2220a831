"""How good predictions are, as scikit-learn measures it. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inference.predictions import TOP, Predictions

CALIBRATION_BINS = 15
"""As Guo et al. (arXiv:1706.04599) take them."""

Counts = NDArray[np.int64]
Curve = NDArray[np.float64]


@dataclass(frozen=True)
class ClassScore:
    """How well a class, or all on average, is told from the others.

    Attributes:
        name: The class, or `macro avg` or `weighted avg`.
        precision, recall, f1: 0 to 1; 0 where nothing was predicted or there is nothing to find.
        support: Images of it.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, eq=False)
class Calibration:
    """Whether a confidence of 80 % is right four times of five.

    Attributes:
        edges: Of the bins of confidence, of equal width, (bins + 1,).
        counts: Images in each, (bins,).
        confidence, accuracy: Mean confidence and share of right predictions in each, 0 to 1, (bins,);
            NaN in empty ones.
        error: Expected calibration error, 0 to 1: the mean over the images of how far the two are apart in
            their bin (Guo et al., arXiv:1706.04599, equation 3).
    """

    edges: Curve
    counts: Counts
    confidence: Curve
    accuracy: Curve
    error: float


@dataclass(frozen=True, eq=False)
class ClassCurves:
    """One class against the others, over all thresholds of its probability.

    Attributes:
        label: The class.
        false_positive_rate, true_positive_rate: The receiver operating characteristic, 0 to 1.
        area: Under it.
        precision, recall: 0 to 1, without the points that lie on a line between others.
        average_precision: The mean of the precisions, weighted by the steps of recall.
    """

    label: int
    false_positive_rate: Curve
    true_positive_rate: Curve
    area: float
    precision: Curve
    recall: Curve
    average_precision: float


@dataclass(frozen=True, eq=False)
class Scores:
    """How good predictions with known labels are.

    Attributes:
        class_names: Name of each label.
        images: How many were judged.
        accuracy: In percent.
        top5_accuracy: In percent; `None` with five classes or fewer, where it says nothing.
        classes: Every class, in the order of the labels.
        macro, weighted: Means over the classes that occur, as a label or predicted: plain, and by support.
        confusion: Images by true class (row) and predicted class (column), (K, K).
        calibration: Of the predicted classes' probabilities.
        curves: Of each class for which there are images of it and of others.
    """

    class_names: tuple[str, ...]
    images: int
    accuracy: float
    top5_accuracy: float | None
    classes: tuple[ClassScore, ...]
    macro: ClassScore
    weighted: ClassScore
    confusion: Counts
    calibration: Calibration
    curves: tuple[ClassCurves, ...]

    @property
    def macro_area(self) -> float | None:
        """Mean area under the ROC curves; `None` without one."""
        return float(np.mean([curve.area for curve in self.curves])) if self.curves else None

    @property
    def macro_average_precision(self) -> float | None:
        """Mean average precision over the classes with curves; `None` without one."""
        return float(np.mean([curve.average_precision for curve in self.curves])) if self.curves else None


def score(predictions: Predictions) -> Scores:
    """Judge predictions.

    Args:
        predictions: At least one, with labels.
    """
    from sklearn.metrics import confusion_matrix

    labels, predicted, correct = predictions.labels, predictions.predicted, predictions.correct
    assert labels is not None and correct is not None
    classes, macro, weighted = _class_scores(predictions.class_names, labels, predicted)
    count = len(predictions.class_names)
    in_top = (predictions.top == labels[:, None]).any(axis=1)
    return Scores(
        class_names=predictions.class_names,
        images=len(predictions),
        accuracy=_percent(correct),
        top5_accuracy=_percent(in_top) if count > TOP else None,
        classes=classes,
        macro=macro,
        weighted=weighted,
        confusion=confusion_matrix(labels, predicted, labels=range(count)).astype(np.int64),
        calibration=calibrate(predictions.confidence, correct),
        curves=tuple(_curves(predictions.probabilities, labels)),
    )


def _percent(are_right: NDArray[np.bool_]) -> float:
    """Compute a share as training does, so that both are the same number to the last digit."""
    return 100 * float(are_right.sum()) / len(are_right)


def _class_scores(
    names: Sequence[str], labels: NDArray[np.int64], predicted: NDArray[np.int64]
) -> tuple[tuple[ClassScore, ...], ClassScore, ClassScore]:
    from sklearn.metrics import precision_recall_fscore_support

    of_classes = precision_recall_fscore_support(labels, predicted, labels=range(len(names)), zero_division=0)
    classes = tuple(
        ClassScore(name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(names, *of_classes, strict=True)
    )
    averages = []
    for kind in ("macro", "weighted"):
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels, predicted, average=kind, zero_division=0
        )
        averages.append(ClassScore(f"{kind} avg", float(precision), float(recall), float(f1), len(labels)))
    return classes, averages[0], averages[1]


def calibrate(confidence: Curve, correct: NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> Calibration:
    """Hold confidence against accuracy, in bins of equal width.

    Args:
        confidence: Probability of each predicted class, 0 to 1, (N,).
        correct: Whether it is the right one, (N,).
        bins: How many.
    """
    edges = np.linspace(0, 1, bins + 1)
    bucket = np.clip(np.searchsorted(edges[1:-1], confidence), 0, bins - 1)
    counts = np.bincount(bucket, minlength=bins).astype(np.int64)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bucket, confidence, minlength=bins) / counts
        accuracy = np.bincount(bucket, correct, minlength=bins) / counts
    gaps = np.abs(mean - accuracy)[counts > 0]
    error = float((counts[counts > 0] * gaps).sum() / len(confidence))
    return Calibration(edges, counts, mean, accuracy, error)


def _curves(probabilities: Curve, labels: NDArray[np.int64]) -> list[ClassCurves]:
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

    found = []
    for label in range(probabilities.shape[1]):
        is_true, values = labels == label, probabilities[:, label]
        if not is_true.any() or is_true.all():
            continue  # without both there is no curve
        false_rate, true_rate, _ = roc_curve(is_true, values)
        # Else each image would be a point: of 1,000 classes and 50,000 images they would take a gigabyte.
        precision, recall, _ = precision_recall_curve(is_true, values, drop_intermediate=True)
        average = float(average_precision_score(is_true, values))
        area = float(auc(false_rate, true_rate))
        found.append(ClassCurves(label, false_rate, true_rate, area, precision, recall, average))
    return found
