"""Where everything of an inference lies, in a run or elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pochi_cli.runs.layout import RUN_NAME, create_numbered


@dataclass(frozen=True)
class InferenceLayout:
    """The paths of what was inferred at one time.

    Attributes:
        directory: Its own directory.
    """

    directory: Path

    @property
    def predictions(self) -> Path:
        """One row for each image."""
        return self.directory / "predictions.csv"

    @property
    def summary_text(self) -> Path:
        """What it came to, in words."""
        return self.directory / "inference_summary.txt"

    @property
    def summary_json(self) -> Path:
        """The same for programs."""
        return self.directory / "inference_summary.json"

    @property
    def recalls(self) -> Path:
        """Recall of an encoder and of encodings that are not learnt."""
        return self.directory / "recall.csv"

    @property
    def class_report(self) -> Path:
        """Precision, recall and F1 of each class."""
        return self.directory / "classification_report.csv"

    @property
    def confusion_matrix(self) -> Path:
        """Images by true and predicted class."""
        return self.directory / "confusion_matrix.csv"

    @property
    def calibration_figure(self) -> Path:
        """Confidence against accuracy."""
        return self.directory / "calibration.png"

    @property
    def curves_figure(self) -> Path:
        """ROC and precision-recall curves."""
        return self.directory / "roc_pr.png"

    @property
    def mistakes(self) -> Path:
        """Gallery of the most confident mistakes."""
        return self.directory / "mistakes.html"

    @property
    def figures(self) -> tuple[Path, ...]:
        """Its pictures."""
        return confusion_figure(self.directory), self.calibration_figure, self.curves_figure

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them; which there are depends on what was inferred."""
        return (
            self.summary_json,  # first: without it the others are no longer taken for a whole
            self.summary_text,
            self.predictions,
            self.recalls,
            self.class_report,
            self.confusion_matrix,
            *self.figures,
            self.mistakes,
        )


def confusion_figure(directory: Path) -> Path:
    """Picture of a confusion matrix, which need not be a run's."""
    return directory / "confusion_matrix.png"


def inferences_in(results: Path) -> list[InferenceLayout]:
    """List what was inferred, the newest last; what was not written to its end has no summary.

    Args:
        results: The directory that holds the directories.
    """
    named = [(match, entry) for entry in _entries(results) if (match := RUN_NAME.fullmatch(entry.name))]
    named.sort(key=lambda found: (found[0]["date"], int(found[0]["number"])))
    layouts = [InferenceLayout(entry) for _, entry in named]
    return [layout for layout in layouts if layout.summary_json.is_file()]


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []  # there is none, or none that can be read


def create_inference_directory(results: Path, now: datetime) -> InferenceLayout:
    """Make the directory of a new inference, as `create_run_directory` makes a run's.

    Raises:
        StorageError: It cannot be made.
    """
    remedy = "choose another --output, or mend its permissions or space"
    return InferenceLayout(create_numbered(results, now, "a directory", remedy))
