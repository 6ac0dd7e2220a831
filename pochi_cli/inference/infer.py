"""From a model and images to the files that tell what it makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pochi_cli.config.recording import ConfusionMatrixConfig
from pochi_cli.errors import StorageError
from pochi_cli.inference.images import ImageSource
from pochi_cli.inference.model import LoadedModel
from pochi_cli.inference.predict import Answers, Tell, ask
from pochi_cli.inference.results import InferenceSummary, describe_scores, write_predictions, write_scores
from pochi_cli.inference.scores import Scores, score
from pochi_cli.runs.atomic import TEMPORARY_PREFIX
from pochi_cli.runs.inference_layout import InferenceLayout, create_inference_directory
from pochi_cli.runs.layout import inference_results_in, make_part


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


def infer(loaded: LoadedModel, source: ImageSource, layout: InferenceLayout, tell: Tell) -> Inference:
    """Predict images and write the predictions and their scores; the summary is left to be written last.

    Args:
        loaded: The model.
        source: The images.
        layout: Where the files go.
        tell: Told how many images are done, and of how many.

    Raises:
        DataError, ModelError, MemoryExhaustedError: As for `ask`.
        StorageError: A file cannot be written.
    """
    answers = ask(loaded, source, tell)
    scores = score(answers.predictions) if source.is_labelled else None
    write_predictions(layout, answers.predictions)
    if scores is not None:
        write_scores(layout, scores)
    summary = _summarize(loaded, source, answers, scores)
    return Inference(layout, source, answers, scores, summary, loaded.config.confusion_matrix_config)


@contextmanager
def results_directory(home: Path, output: Path | None) -> Iterator[InferenceLayout]:
    """Make a directory for results, before there are any; what is not finished leaves nothing behind.

    Args:
        home: Directory of the run or checkpoint; without `output` they get a new one below it.
        output: Directory that a user named. Results of an earlier inference in it are replaced, all at once;
            anything else must not be in it.

    Raises:
        StorageError: It cannot be made or written to, or holds something else.
    """
    if output is None:
        make_part(inference_results_in(home))
        layout = create_inference_directory(inference_results_in(home), datetime.now())
        try:
            yield layout
        except BaseException:
            shutil.rmtree(layout.directory, ignore_errors=True)
            raise
        return
    final = InferenceLayout(output)
    staged = InferenceLayout(_stage_in(final))
    try:
        yield staged
        _publish(staged, final)
    finally:
        shutil.rmtree(staged.directory, ignore_errors=True)


def _stage_in(final: InferenceLayout) -> Path:
    output = final.directory
    try:
        output.mkdir(parents=True, exist_ok=True)
        # What begins like this is left by an inference that was killed, or of one that goes on.
        others = (entry for entry in output.iterdir() if not entry.name.startswith(TEMPORARY_PREFIX))
        if any(others) and not final.summary_json.is_file():
            raise StorageError(
                f"{output} is not empty, and holds no results of `pochi infer`",
                "name a new or an empty directory for --output",
            )
        return Path(mkdtemp(prefix=TEMPORARY_PREFIX, dir=output))
    except OSError as error:
        raise StorageError(
            f"cannot write to {output}: {error.strerror or error}", "choose another --output"
        ) from error


def _publish(staged: InferenceLayout, final: InferenceLayout) -> None:
    """Put new files in the place of the old ones; the summary goes first and comes last."""
    try:
        final.summary_json.unlink(missing_ok=True)
        for new, old in reversed(list(zip(staged.files, final.files, strict=True))):
            if new.exists():
                new.replace(old)
            else:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write to {final.directory}: {error.strerror or error}") from error


def _summarize(
    loaded: LoadedModel, source: ImageSource, answers: Answers, scores: Scores | None
) -> InferenceSummary:
    run, runtime, speed = loaded.run, loaded.runtime, answers.speed
    judged = {}
    if scores is not None and answers.loss is not None:
        judged = describe_scores(scores, answers.loss)
    return InferenceSummary(
        created_at=datetime.now().astimezone().isoformat(timespec="seconds"),
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
        data_fingerprint=source.index.fingerprint,
        altered=loaded.altered,
        images=len(answers.predictions),
        skipped={image.path: image.reason for image in answers.skipped},
        scores=judged,
        batch_size=speed.batch_size,
        num_workers=speed.num_workers,
        forward_images_per_second=speed.forward_images_per_second,
        images_per_second=speed.images_per_second,
    )
