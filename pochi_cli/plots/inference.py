"""The pictures of an inference."""

from __future__ import annotations

from pathlib import Path

from pochi_cli.config.recording import ConfusionMatrixConfig
from pochi_cli.inference.confusion import ConfusionMatrix
from pochi_cli.inference.scores import Scores
from pochi_cli.plots.calibration import draw_calibration
from pochi_cli.plots.confusion import draw_confusion
from pochi_cli.plots.curves import draw_curves
from pochi_cli.plots.files import save_figure
from pochi_cli.plots.fonts import font_advice
from pochi_cli.runs.inference_layout import InferenceLayout, confusion_figure


def write_inference_figures(scores: Scores, layout: InferenceLayout, config: ConfusionMatrixConfig) -> None:
    """Draw confusion matrix, calibration, ROC and precision-recall curves.

    Raises:
        StorageError: One cannot be written.
    """
    matrix = ConfusionMatrix(scores.class_names, scores.confusion)
    write_confusion_figure(matrix, confusion_figure(layout.directory), config)
    save_figure(draw_calibration(scores.calibration), layout.calibration_figure)
    save_figure(draw_curves(scores.curves, scores.class_names), layout.curves_figure)


def write_confusion_figure(matrix: ConfusionMatrix, path: Path, config: ConfusionMatrixConfig) -> None:
    """Draw a confusion matrix.

    Raises:
        StorageError: It cannot be written.
    """
    save_figure(draw_confusion(matrix.counts, matrix.class_names, config), path)


def missing_fonts(class_names: tuple[str, ...], config: ConfusionMatrixConfig) -> str | None:
    """Tell which of the texts that are drawn no font has the characters of, and what brings one."""
    return font_advice((config.title, config.xlabel, config.ylabel, *class_names))
