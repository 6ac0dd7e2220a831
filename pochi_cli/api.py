"""Pochi from Python. PyTorch is imported only by the functions that need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pochi_cli.config.load import load_config as load_config
from pochi_cli.config.root import Config
from pochi_cli.config.search_rules import require_search
from pochi_cli.errors import DataError, StorageError
from pochi_cli.errors import Interrupted as Interrupted
from pochi_cli.errors import PochiError as PochiError
from pochi_cli.installation import require_torch
from pochi_cli.runs.continuation import continued_config
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.index import Run, find_run
from pochi_cli.runs.inference_layout import InferenceLayout

if TYPE_CHECKING:
    from pochi_cli.engine.fit import OnEpoch
    from pochi_cli.engine.progress import Progress
    from pochi_cli.inference.encoder import LoadedEncoder
    from pochi_cli.inference.encoder_evaluation import EncoderEvaluation
    from pochi_cli.inference.images import ImageSource
    from pochi_cli.inference.infer import Inference
    from pochi_cli.inference.model import LoadedModel
    from pochi_cli.inference.predict import ImageInput, Tell
    from pochi_cli.inference.predictions import Predictions
    from pochi_cli.search.optimize import Outcome as SearchOutcome
    from pochi_cli.search.progress import SearchView

__all__ = [
    "Interrupted",
    "PochiError",
    "Run",
    "embed",
    "evaluate",
    "infer",
    "load_config",
    "load_encoder",
    "load_model",
    "load_run",
    "optimize",
    "predict",
    "resume",
    "train",
]


def load_run(reference: str | Path, work_dir: str | Path = "work_dirs") -> Run:
    """Open a run: paths, record and history as attributes.

    Args:
        reference: A run's directory, its name, its UUID or a unique prefix of it, or `latest`.
        work_dir: Where all but a path are looked up.

    Raises:
        RunError: None, or more than one, fits.
    """
    return find_run(reference, Path(work_dir))


def train(config: Config, on_epoch: OnEpoch | None = None, *, progress: Progress | None = None) -> Run:
    """Train a new run and draw its graphs.

    Seeds, threads and other settings of the process are set meanwhile: train one run at a time in a process.

    Args:
        config: As `load_config` returns it.
        on_epoch: Called with each epoch's record; returning `"stop"` ends the training.
        progress: Told how far it is; by default nothing is printed.

    Raises:
        PochiError: Data, model, device, storage or training failed.
        Interrupted: A signal asked to stop; the state is saved.
    """
    require_torch()
    from pochi_cli.engine.training import train as train_run

    return _with_figures(train_run(config, progress=progress, on_epoch=on_epoch or _go_on), config)


def resume(
    run: Run | str | Path,
    config: Config | None = None,
    on_epoch: OnEpoch | None = None,
    *,
    progress: Progress | None = None,
) -> Run:
    """Go on with a run exactly as if it had never stopped.

    Args:
        run: The run, or what `load_run` finds it by.
        config: Where it should differ from the run's own: with more epochs, say, as
            `load_config(run.layout.config_toml, ["epochs=100"])` gives it.
        on_epoch: Called with each epoch's record; returning `"stop"` ends the training.
        progress: Told how far it is; by default nothing is printed.

    Raises:
        PochiError: As for `train`; or the run cannot go on, or not with this config.
        Interrupted: A signal asked to stop; the state is saved.
    """
    run = run if isinstance(run, Run) else load_run(run)
    config = continued_config(run, config or run.config)
    require_torch()
    from pochi_cli.engine.training import resume as resume_run

    return _with_figures(resume_run(run, config, progress=progress, on_epoch=on_epoch or _go_on), config)


def load_model(
    reference: str | Path | Run, work_dir: str | Path = "work_dirs", overrides: Iterable[str] = ()
) -> LoadedModel:
    """Load a trained model: the best of a run, or that of a checkpoint.

    Args:
        reference: A checkpoint's path, a run, or what `load_run` finds one by.
        work_dir: Where all but a path are looked up.
        overrides: `key=value` arguments of how it is asked, such as `device=cpu` or `batch_size=64`.

    Returns:
        The network in eval mode as `.model`, with `.class_names`, `.transform` and `.config`.

    Raises:
        PochiError: There is no such model, it is damaged, or an override is not allowed.
    """
    require_torch()
    from pochi_cli.inference.model import load_model as load

    return load(reference, Path(work_dir), overrides)


def predict(loaded: LoadedModel, images: Iterable[ImageInput]) -> Predictions:
    """Predict images that are at hand.

    Args:
        loaded: As `load_model` returns it; it is set to eval mode.
        images: Paths of files, or images of Pillow's, of any mode and size; at least one.

    Returns:
        Among others `.predicted_names`, `.confidence` (0 to 1) and `.probabilities`, float64 (N, K).

    Raises:
        DataError: An image is none or cannot be decoded, or the transform cannot take it.
        ModelError: The model gives no finite numbers.
        MemoryExhaustedError: The device has too little memory for a batch.
    """
    from pochi_cli.inference.predict import predict as predict_images

    return predict_images(loaded, images)


def infer(
    loaded: LoadedModel,
    data: str | Path | ImageSource | None = None,
    output: str | Path | None = None,
    *,
    unlabelled: bool = False,
    tell: Tell = lambda *_: None,
) -> Inference:
    """Predict a folder of images, and write predictions, scores and pictures.

    Args:
        loaded: As `load_model` returns it.
        data: A directory of images, labelled where its directories are named like classes, or an image file,
            or images that were found already; by default the validation data of its training.
        output: Directory of the files, new, empty or with earlier results, which are replaced; by default a
            new one in the run's.
        unlabelled: Take every image, and no directory for a class.
        tell: Told how many images are done, and of how many.

    Raises:
        PochiError: Images, memory or storage failed.
    """
    from pochi_cli.engine.runtime import configured, random_state, restore_random_state
    from pochi_cli.inference.images import find_images, validation_images
    from pochi_cli.inference.infer import infer as infer_images
    from pochi_cli.inference.infer import results_directory

    if data is None and unlabelled:
        raise DataError(
            "without data there is nothing to predict as unlabelled", "name a directory of images"
        )
    match data:
        case None:
            record = None if loaded.run is None else loaded.run.record
            source = validation_images(loaded.config, loaded.class_names, record)
        case str() | Path():
            source = find_images(Path(data), loaded.class_names, unlabelled=unlabelled)
        case _:
            source = data
    before = random_state()
    with results_directory(loaded.home, None if output is None else Path(output)) as layout:
        try:
            with configured(loaded.config, loaded.runtime):
                done = infer_images(loaded, source, layout, tell)
        finally:
            restore_random_state(before)
        _finish(done)
    return done if output is None else replace(done, layout=InferenceLayout(Path(output)))


def load_encoder(
    reference: str | Path | Run, work_dir: str | Path = "work_dirs", device: str | None = None
) -> LoadedEncoder:
    """Load a trained encoder of vectors: the best of a run, or that of a checkpoint.

    Args:
        reference: A checkpoint's path, a run, or what `load_run` finds one by.
        work_dir: Where all but a path are looked up.
        device: Where it is to run; by default where it was trained.

    Returns:
        The network in eval mode as `.model`, with `.dim` and `.config`. Called with an array of vectors
        (N, dim) it gives their latents, float32 (N, latent_dim).

    Raises:
        PochiError: There is no such encoder, or it is damaged.
    """
    require_torch()
    from pochi_cli.inference.encoder import load_encoder as load

    return load(reference, Path(work_dir), device)


def embed(
    loaded: LoadedEncoder,
    source: str | Path,
    output: str | Path,
    *,
    column: str | None = None,
    tell: Tell = lambda *_: None,
) -> int:
    """Encode the vectors of a file into another, in bounded memory.

    Args:
        loaded: As `load_encoder` returns it.
        source: .npy, .npz, .parquet or .jsonl.
        output: .npy or .parquet, replaced all at once where it exists.
        column: Column, field or array of the source; by default as in training.
        tell: Told how many rows are done, and of how many.

    Returns:
        The number of rows.

    Raises:
        PochiError: The vectors do not fit the encoder, cannot be read, or the output cannot be written.
    """
    from pochi_cli.data.vectors import open_vectors
    from pochi_cli.inference.encoder import embed as embed_vectors

    vectors = open_vectors(Path(source), column or loaded.config.vector_column)
    embed_vectors(loaded, vectors, Path(output), tell)
    return vectors.rows


def evaluate(
    loaded: LoadedEncoder,
    data: str | Path | None = None,
    output: str | Path | None = None,
    *,
    column: str | None = None,
) -> EncoderEvaluation:
    """Measure how many neighbours an encoder keeps, beside encodings that are not learnt, and write it.

    Args:
        loaded: As `load_encoder` returns it.
        data: File of vectors; by default the rows that its training held out.
        output: Directory of the files, as for `infer`.
        column: Column, field or array of the file; by default as in training.

    Returns:
        The numbers as `.summary`, and the directory of the files as `.layout`.

    Raises:
        PochiError: The vectors cannot be used, or the files not be written.
    """
    from pochi_cli.inference.encoder_evaluation import evaluate_encoder, write_evaluation
    from pochi_cli.inference.infer import results_directory

    with results_directory(loaded.home, None if output is None else Path(output)) as layout:
        summary = evaluate_encoder(loaded, None if data is None else Path(data), column)
        done = write_evaluation(summary, loaded.config.judged_recall, layout)
    return done if output is None else replace(done, layout=InferenceLayout(Path(output)))


def optimize(config: Config, *, view: SearchView | None = None) -> SearchOutcome:
    """Search hyper-parameters as the config's `optuna` table says, or go on with a stored search.

    Trials are trained in processes of their own.

    Args:
        config: As `load_config` returns it.
        view: Told how far it is; by default nothing is printed.

    Returns:
        The trials as `.study`, with `.study.best`, and the directory of the files as `.layout`.

    Raises:
        PochiError: There is nothing to search, or the storage or the directory cannot be used. A trial that
            fails is recorded, and the search goes on.
        Interrupted: A signal asked to stop; what is done is recorded, and the trials that ran are put back.
    """
    require_search(config)
    from pochi_cli.search.figures import NothingToDrawError, importances
    from pochi_cli.search.optimize import optimize as search
    from pochi_cli.search.progress import SilentView
    from pochi_cli.search.records import write_statistics
    from pochi_cli.web.study import write_study_pages

    outcome = search(config, view or SilentView())
    shares: Mapping[str, float] | str
    try:
        shares = importances(outcome.study)
    except NothingToDrawError as reason:
        shares = str(reason)
    write_statistics(outcome.layout, outcome.study, shares)
    write_study_pages(outcome.layout.directory, outcome.study)
    return outcome


def _finish(done: Inference) -> None:
    """Write what is looked at, and the summary last."""
    from pochi_cli.inference.mistakes import predicted_images
    from pochi_cli.inference.results import write_summary
    from pochi_cli.inference.summary_text import summary_text
    from pochi_cli.plots.inference import write_inference_figures
    from pochi_cli.runs.atomic import write_text
    from pochi_cli.web.gallery import mistakes_page

    if done.scores is not None:
        write_inference_figures(done.scores, done.layout, done.look)
        images = predicted_images(done.answers.predictions)
        write_text(done.layout.mistakes, mistakes_page(done.summary, images, done.source.index))
    write_summary(done.layout, done.summary, summary_text(done.summary))


def _go_on(_: EpochRecord) -> None:
    """Neither look at the epoch nor stop."""


def _with_figures(run: Run, config: Config) -> Run:
    if config.enable_metrics_export:
        from pochi_cli.engine.signals import noting_signals
        from pochi_cli.plots.metrics import write_metrics_figures

        try:
            with noting_signals() as signals:
                write_metrics_figures(run)
            if signals.number is not None:
                raise Interrupted(signals.number, f"{run.directory} is trained and drawn")
        except StorageError as error:
            again = f"pochi plot metrics {run.directory}"
            raise StorageError(
                error.message, f"the run itself is complete; draw later with: {again}"
            ) from error
    return run
