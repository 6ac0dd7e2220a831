"""From a model and images to the files that tell what it makes of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pochi_cli.config.recording import ConfusionMatrixConfig
from pochi_cli.errors import StorageError
from pochi_cli.inference.images import ImageSource
from pochi_cli.inference.model import LoadedModel
from pochi_cli.inference.predict import Answers, Tell, ask
from pochi_cli.inference.results import InferenceSummary, describe_scores, write_predictions, write_scores
from pochi_cli.inference.scores import Scores, score
from pochi_cli.runs.layout import InferenceLayout, create_inference_directory, inference_results_in


@dataclass(frozen=True, eq=False)
class Inference:
    """What was inferred.

    Attributes:
        layout: Where the files are.
        source: The images.
        answers: What the model made of them.
        scores: How good that is; `None` without labels.
        summary: What it came to.
        look: How the picture of the confusion matrix looks.
    """

    layout: InferenceLayout
    source: ImageSource
    answers: Answers
    scores: Scores | None
    summary: InferenceSummary
    look: ConfusionMatrixConfig

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        files = {path.name: str(path) for path in self.layout.files if path.exists()}
        return {
            **asdict(self.summary),
            "classes": [] if self.scores is None else [asdict(row) for row in self.scores.classes],
            "directory": str(self.layout.directory),
            "files": files,
        }


def infer(
    loaded: LoadedModel, source: ImageSource, output: Path | None = None, tell: Tell = lambda *_: None
) -> Inference:
    """Predict images and write the predictions and their scores; the summary is left to be written last.

    Args:
        loaded: The model.
        source: The images.
        output: Directory of the files; those of an earlier inference are replaced. By default a new one below
            the run's.
        tell: Told how many images are done, and of how many.

    Raises:
        DataError, MemoryExhaustedError: As for `ask`.
        StorageError: A file cannot be written.
    """
    answers = ask(loaded, source, tell)
    scores = score(answers.predictions) if source.is_labelled else None
    now = datetime.now().astimezone()
    layout = (
        create_inference_directory(inference_results_in(loaded.home), now)
        if output is None
        else _emptied(InferenceLayout(output))
    )
    write_predictions(layout, answers.predictions)
    if scores is not None:
        write_scores(layout, scores)
    summary = _summarize(loaded, source, answers, scores, now)
    return Inference(layout, source, answers, scores, summary, loaded.config.confusion_matrix_config)


def _emptied(layout: InferenceLayout) -> InferenceLayout:
    """Make a directory where missing, and remove what an earlier inference left in it."""
    try:
        layout.directory.mkdir(parents=True, exist_ok=True)
        for path in layout.files:
            path.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"cannot write to {layout.directory}: {reason}", "choose another --output"
        ) from error
    return layout


def _summarize(
    loaded: LoadedModel, source: ImageSource, answers: Answers, scores: Scores | None, now: datetime
) -> InferenceSummary:
    run, runtime, speed = loaded.run, loaded.runtime, answers.speed
    judged = {}
    if scores is not None and answers.loss is not None:
        judged = describe_scores(scores, answers.loss)
    return InferenceSummary(
        created_at=now.isoformat(timespec="seconds"),
        run=None if run is None else run.layout.name,
        experiment_id=None if run is None else run.record.experiment_id,
        checkpoint=str(loaded.checkpoint.absolute()),
        epoch=loaded.epoch,
        is_averaged=loaded.is_averaged,
        model_name=loaded.config.model_name,
        class_names=loaded.class_names,
        input_size=answers.input_size,
        device=str(runtime.device),
        precision=runtime.precision,
        channels_last=runtime.channels_last,
        data=source.name,
        is_validation=source.is_validation,
        images=len(answers.predictions),
        skipped={image.path: image.reason for image in answers.skipped},
        scores=judged,
        batch_size=speed.batch_size,
        num_workers=speed.num_workers,
        forward_images_per_second=speed.forward_images_per_second,
        images_per_second=speed.images_per_second,
    )
