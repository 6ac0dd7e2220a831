"""The activations of a trained model over its own data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pochi_cli.characters import printable
from pochi_cli.data.datasets import Batch
from pochi_cli.data.findings import counted, raise_errors
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.loading import resolve_workers
from pochi_cli.data.prepare import find_folders
from pochi_cli.data.vectors import read_rows
from pochi_cli.engine.embedding import EmbeddingTask
from pochi_cli.engine.memory import explaining_batches
from pochi_cli.engine.runtime import configured, random_state, restore_random_state
from pochi_cli.inference.encoder import LoadedEncoder, check_dimension
from pochi_cli.inference.images import validation_images
from pochi_cli.inference.model import LoadedModel
from pochi_cli.inference.predict import create_loader
from pochi_cli.inspection.activation_record import ActivationSurvey
from pochi_cli.inspection.activation_report import ActivationReport
from pochi_cli.inspection.activation_verdicts import judge_activations
from pochi_cli.inspection.activations import survey_activations

_ROWS = 1024
"""Vectors in a batch."""

Tell = Callable[[int, int], None]


def inspect_model(
    loaded: LoadedModel, samples: int | None = None, tell: Tell = lambda *_: None
) -> ActivationReport:
    """Judge the activations of a classifier over its validation images, as validation shows them to it.

    Args:
        loaded: The model. Of one that was trained without validation data the images are those of the
            training, with the transform for evaluation.
        samples: How many images, evenly spaced; by default all.
        tell: Told how many images are done, and of how many.

    Raises:
        DataError: The images are missing, or one is bad (unless bad ones are skipped).
        ConfigError: How images are shown to the model is not known.
        MemoryExhaustedError: The device has too little memory.
    """
    images, data, source, remarks = _images(loaded)
    chosen = images.subset(spaced(len(images), samples))
    runtime, done = loaded.runtime, 0
    tell(0, len(chosen))

    def call(model: nn.Module, batch: Batch) -> None:
        nonlocal done
        with runtime.autocast():
            model(batch.to(runtime.device, channels_last=runtime.channels_last).images)
        done += len(batch)
        tell(done, len(chosen))

    batch_size = loaded.config.images_per_batch
    with _settings(loaded, batch_size):
        # Processes that load take longer to start than one batch to load.
        is_one = len(chosen) <= batch_size
        workers = 0 if is_one else resolve_workers(loaded.config.num_workers, runtime.device.type)
        loader = create_loader(loaded, chosen, workers)
        survey = survey_activations(loaded.model, (batch for _, batch in loader.batches(epoch=0)), call)
    if loader.skipped:
        remarks = (*remarks, f"{counted(len(loader.skipped), 'image')} left out that cannot be decoded")
    return _report(loaded, survey, data, source, done, len(images), remarks)


def inspect_encoder(
    loaded: LoadedEncoder, samples: int | None = None, tell: Tell = lambda *_: None
) -> ActivationReport:
    """Judge the activations of an encoder over the vectors that were held out of its training.

    Args:
        loaded: The encoder. Where nothing was held out the vectors are those of the training.
        samples: How many vectors, evenly spaced; by default all.
        tell: Told how many are done, and of how many.

    Raises:
        DataError: The vectors cannot be used.
        MemoryExhaustedError: The device has too little memory.
    """
    task = EmbeddingTask.prepare(loaded.config, lambda _: None)
    check_dimension(loaded, task.vectors)
    rows, data = (task.held, "held-out vectors") if len(task.held) else (task.train, "training vectors")
    chosen = rows[spaced(len(rows), samples)]
    runtime = loaded.runtime
    tell(0, len(chosen))

    def chunks() -> Iterator[Tensor]:
        for start in range(0, len(chosen), _ROWS):
            yield torch.from_numpy(read_rows(task.vectors, chosen[start : start + _ROWS]))

    def call(model: nn.Module, vectors: Tensor) -> None:
        with runtime.autocast():
            model(vectors.to(runtime.device))

    def on_batch(batches: int) -> None:
        tell(min(batches * _ROWS, len(chosen)), len(chosen))

    with _settings(loaded, _ROWS):
        survey = survey_activations(loaded.model, chunks(), call, on_batch)
    has_changed = loaded.run is not None and task.fingerprint != loaded.run.record.data_fingerprint
    remarks = ("the vectors have changed since the training",) if has_changed else ()
    source = printable(loaded.config.train_vectors)
    return _report(loaded, survey, data, source, len(chosen), len(rows), remarks)


def spaced(count: int, most: int | None) -> list[int]:
    """Choose evenly spaced positions.

    Args:
        count: How many there are.
        most: How many are chosen at most; `None`: all.
    """
    if most is None or most >= count:
        return list(range(count))
    chosen: list[int] = np.linspace(0, count - 1, most).round().astype(int).tolist()
    return chosen


def _images(loaded: LoadedModel) -> tuple[FolderIndex, str, str, tuple[str, ...]]:
    """Find the images, what they are, where they lie, and what is doubtful about them."""
    config, record = loaded.config, None if loaded.run is None else loaded.run.record
    if config.has_validation:
        source = validation_images(config, loaded.class_names, record)
        return source.index, "validation images", source.name, source.warnings
    found = find_folders(config, config.seed)
    raise_errors(found.findings)
    return found.train, "training images", printable(found.train.root), ("it has no validation data",)


@contextmanager
def _settings(loaded: LoadedModel | LoadedEncoder, batch_size: int) -> Iterator[None]:
    before = random_state()
    try:
        with (
            explaining_batches(loaded.runtime.device, batch_size),
            configured(loaded.config, loaded.runtime),
        ):
            yield
    finally:
        restore_random_state(before)


def _report(
    loaded: LoadedModel | LoadedEncoder,
    survey: ActivationSurvey,
    data: str,
    source: str,
    samples: int,
    available: int,
    remarks: tuple[str, ...],
) -> ActivationReport:
    return ActivationReport(
        name=loaded.checkpoint.name if loaded.run is None else loaded.run.layout.name,
        run=loaded.run,
        survey=survey,
        findings=tuple(judge_activations(survey)),
        checkpoint=loaded.checkpoint,
        epoch=loaded.epoch,
        is_averaged=loaded.is_averaged,
        data=data,
        source=source,
        samples=samples,
        available=available,
        device=str(loaded.runtime.device),
        precision=loaded.runtime.precision,
        remarks=remarks,
    )
