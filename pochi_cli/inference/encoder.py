"""A trained encoder: loaded, asked, and judged by the neighbours that it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pochi_cli.characters import printable
from pochi_cli.config.load import validate
from pochi_cli.config.recalls import recall_name
from pochi_cli.config.root import EmbeddingConfig
from pochi_cli.data.vectors import Vectors, check_rows, open_vectors, read_rows
from pochi_cli.engine.checkpoint import load_checkpoint, load_weights
from pochi_cli.engine.embedding import EmbeddingTask
from pochi_cli.engine.encoding import encode
from pochi_cli.engine.memory import explaining_batches
from pochi_cli.engine.neighborhoods import Neighborhoods
from pochi_cli.engine.runtime import Runtime, choose_runtime, own_runtime
from pochi_cli.errors import ConfigError, DataError, RunError
from pochi_cli.inference.encoder_text import encoder_text, recall_csv
from pochi_cli.inference.model import find_checkpoint
from pochi_cli.models.encoder import Encoder
from pochi_cli.models.projections import Projection, pca
from pochi_cli.runs.atomic import write_json, write_text
from pochi_cli.runs.epochs import EmbeddingEpoch
from pochi_cli.runs.index import Run
from pochi_cli.runs.inference_layout import InferenceLayout
from pochi_cli.runs.vector_output import writing_vectors

_CHUNK = 8192
"""Rows that are read, encoded and written at a time."""

Tell = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class LoadedEncoder:
    """A trained encoder with all that its answers depend on.

    Attributes:
        model: In eval mode, on the runtime's device; takes float32 (N, dim) to latents (N, latent_dim). With
            the averaged weights, where an average was kept.
        dim: Dimensions of the vectors.
        config: The config that it was trained with.
        runtime: Device and precision: those of the training, where they are to be had.
        checkpoint: The file that it was loaded from.
        epoch: Finished epochs when that was written.
        is_averaged: Whether its weights are averaged.
        run: The run that it is of; `None` for a checkpoint elsewhere.
    """

    model: nn.Module
    dim: int
    config: EmbeddingConfig
    runtime: Runtime
    checkpoint: Path
    epoch: int
    is_averaged: bool
    run: Run | None

    @property
    def home(self) -> Path:
        """Directory of its run, or of its file."""
        return self.checkpoint.parent if self.run is None else self.run.directory

    def __call__(self, vectors: NDArray[Any] | Tensor) -> NDArray[np.float32]:
        """Encode vectors that are at hand.

        Args:
            vectors: (N, dim), of any floating dtype.

        Returns:
            float32 (N, latent_dim).

        Raises:
            DataError: They have other dimensions.
        """
        rows = torch.as_tensor(vectors).float().cpu()
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise DataError(f"the vectors are of shape {tuple(rows.shape)}, but must be (N, {self.dim})")
        if not bool(rows.isfinite().all()):
            bad = int((~rows.isfinite()).any(1).nonzero()[0])
            raise DataError(f"row {bad} of the vectors holds NaN or infinity (counted from 0)")
        chunks = encode(self.model, torch.split(rows, _CHUNK), self.runtime)
        latents: NDArray[np.float32] = torch.cat(list(chunks)).numpy()
        return latents


def load_encoder(
    reference: str | Path | Run, work_dir: Path = Path("work_dirs"), device: str | None = None
) -> LoadedEncoder:
    """Load the encoder of a run, its best if there is one and else its latest, or that of a checkpoint.

    Args:
        reference: A checkpoint's path, a run, or what names one.
        work_dir: Where all but a path are looked up.
        device: Where it is to run; by default where it was trained.

    Raises:
        RunError: There is no such run or checkpoint, it is damaged, or it is no encoder.
        DeviceError: The device is not there.
    """
    run, path = find_checkpoint(reference, work_dir)
    return _load(run, path, device)


def _load(run: Run | None, path: Path, device: str | None = None) -> LoadedEncoder:
    checkpoint = load_checkpoint(path)
    try:
        config = validate(checkpoint["config"])
        if not isinstance(config, EmbeddingConfig):
            raise RunError(f"{path} is a classifier of images, not an encoder of vectors")
        dim, epoch = int(checkpoint["dim"]), int(checkpoint["epoch"])
    except KeyError as error:
        raise RunError(f"{path} is incomplete: it has no {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    except ConfigError as error:
        message = f"{path} is damaged: its config is not valid: {error.diagnostics[0].message}"
        raise RunError(message) from error
    if device is not None:
        config = config.model_copy(update={"device": device})
    runtime = own_runtime(config) if device is None else choose_runtime(config)
    with torch.random.fork_rng(devices=[]):  # it draws weights that are then replaced
        model = Encoder(
            dim, config.hidden_dims, config.latent_dim, with_projection=config.init == "pca_residual"
        )
    is_averaged = load_weights(model, checkpoint, path)
    model.to(runtime.device)
    model.eval()
    return LoadedEncoder(model, dim, config, runtime, path, epoch, is_averaged, run)


def embed(loaded: LoadedEncoder, vectors: Vectors, output: Path, tell: Tell = lambda *_: None) -> None:
    """Encode stored vectors, row by row, into a file; only some rows are in memory at a time.

    Args:
        loaded: The encoder.
        vectors: The vectors.
        output: .npy or .parquet; float32 (N, latent_dim), in the order of the vectors.
        tell: Told how many rows are done, and of how many.

    Raises:
        DataError: The vectors have other dimensions, a row is not finite, or the output's suffix is unknown.
        StorageError: The file cannot be written; one that was there stays as it was.
    """
    check_dimension(loaded, vectors)
    for path in (vectors.path, Path(loaded.config.train_vectors)):
        if _is_same(path, output):
            raise DataError(
                f"{printable(output)} is {printable(path)}, whose vectors would be lost",
                hint="name another file for what they are encoded to",
            )
    column = vectors.column or "embedding"
    batches = explaining_batches(loaded.runtime.device, _CHUNK)
    with batches, writing_vectors(output, vectors.rows, loaded.config.latent_dim, column) as writer:
        check_rows(vectors, needs_norm=False)
        done = 0
        for latents in encode(loaded.model, _chunks(vectors, range(vectors.rows)), loaded.runtime):
            writer.write(latents.numpy())
            done += len(latents)
            tell(done, vectors.rows)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False  # one of them is not there


def check_dimension(loaded: LoadedEncoder, vectors: Vectors) -> None:
    """Hold the dimensions of vectors against those that the encoder takes.

    Raises:
        DataError: They are others.
    """
    if vectors.dim != loaded.dim:
        raise DataError(
            f"{printable(vectors.path)} has vectors of {vectors.dim} dimensions, but the encoder takes "
            f"{loaded.dim}",
            hint="encode vectors of the kind that it was trained on",
        )


@dataclass(frozen=True)
class EncoderSummary:
    """How good an encoder is on some vectors; the contents of the JSON.

    Attributes:
        created_at: When, ISO 8601 with time zone.
        run, experiment_id: Of the run; `None` for a checkpoint elsewhere.
        checkpoint: The file.
        epoch: Finished epochs when it was written.
        is_averaged: Whether its weights are averaged.
        loss_function: What it was trained with.
        dim, latent_dim: Dimensions before and after.
        data: Where the vectors are.
        is_held_out: Whether they are the held-out rows of the training.
        data_fingerprint: SHA-256 over all vectors of the file.
        metric: What neighbours are near by.
        rows: Vectors in the file.
        n_query, n_pool: Vectors whose neighbours were compared, and among which they were sought.
        fitted_on: What the principal components were worked out from.
        recalls: Of the encoder and of the baselines, by `recall_at_<k>`.
        spread: Spread of the latents over that of the vectors.
        device, precision: What it ran on.
    """

    created_at: str
    run: str | None
    experiment_id: str | None
    checkpoint: str
    epoch: int
    is_averaged: bool
    loss_function: str
    dim: int
    latent_dim: int
    data: str
    is_held_out: bool
    data_fingerprint: str
    metric: str
    rows: int
    n_query: int
    n_pool: int
    fitted_on: str
    recalls: Mapping[str, Mapping[str, float]]
    spread: float
    device: str
    precision: str


def judge_encoder(
    loaded: LoadedEncoder, data: Path | None = None, column: str | None = None
) -> EncoderSummary:
    """Measure which share of the nearest neighbours an encoder keeps, beside encodings that are not learnt.

    Args:
        loaded: The encoder.
        data: File of vectors, of which up to `recall_samples` are compared; by default the held-out rows of
            the training, the very ones that were compared while training.
        column: As for `open_vectors`; by default the config's.

    Raises:
        DataError: The vectors cannot be used, or are too few for the config's recalls.
    """
    config = loaded.config
    if data is None:
        task = EmbeddingTask.prepare(config, lambda _: None)
        if task.neighborhoods is None:
            raise DataError("nothing was held out of its training", "name vectors: --data FILE")
        fitted, fitted_on, fingerprint = task.principal, "the rows that it was trained on", task.fingerprint
        neighborhoods, name, rows = task.neighborhoods, config.train_vectors, len(task.held)
        check_dimension(loaded, task.vectors)
        if loaded.run is not None and fingerprint != loaded.run.record.data_fingerprint:
            raise DataError(
                f"the vectors in {name} have changed since the training: which were held out is not known",
                hint="put the file back as it was, or name vectors: --data FILE",
            )
    else:
        vectors = open_vectors(data, column or config.vector_column)
        check_dimension(loaded, vectors)
        fingerprint = check_rows(vectors, needs_norm=config.metric == "cosine")
        neighborhoods, name, rows = _sampled(config, vectors), str(data), vectors.rows
        fitted, fitted_on = _fitted(config, vectors)
    judged = neighborhoods.judge(loaded.model, loaded.runtime)
    learnt = {recall_name(k): value for k, value in judged.recall.items()}
    record = None if loaded.run is None else loaded.run.record
    return EncoderSummary(
        created_at=datetime.now().astimezone().isoformat(timespec="seconds"),
        run=None if record is None else record.id,
        experiment_id=None if record is None else record.experiment_id,
        checkpoint=str(loaded.checkpoint.absolute()),
        epoch=loaded.epoch,
        is_averaged=loaded.is_averaged,
        loss_function=config.loss_function,
        dim=loaded.dim,
        latent_dim=config.latent_dim,
        data=name,
        is_held_out=data is None,
        data_fingerprint=fingerprint,
        metric=config.metric,
        rows=rows,
        n_query=len(neighborhoods.rows),
        n_pool=len(neighborhoods.rows),
        fitted_on=fitted_on,
        recalls={
            "encoder": learnt,
            **neighborhoods.baselines(fitted, config.latent_dim, config.seed),
        },
        spread=judged.spread,
        device=str(loaded.runtime.device),
        precision=loaded.runtime.precision,
    )


def final_recall(run: Run) -> EmbeddingEpoch:
    """Measure the recall of a run's latest model on its held-out rows.

    Returns:
        Its last epoch, with the recalls filled in.

    Raises:
        RunError: It has no finished epoch, or its model is gone or damaged.
        DataError: Its vectors are gone or have changed, or none were held out.
    """
    epochs = run.history.embedding
    if not epochs:
        raise RunError(f"{run.layout.name} has no finished epoch")
    loaded = _load(run, run.layout.latest_model)
    task = EmbeddingTask.prepare(loaded.config, lambda _: None)
    if task.fingerprint != run.record.data_fingerprint:
        raise DataError(f"the vectors of {run.layout.name} have changed since it began")
    if task.neighborhoods is None:
        raise DataError(f"nothing was held out of {run.layout.name}")
    return replace(epochs[-1], recall=task.neighborhoods.judge(loaded.model, loaded.runtime).recall)


def _sampled(config: EmbeddingConfig, vectors: Vectors) -> Neighborhoods:
    count = min(vectors.rows, config.recall_samples)
    if config.measured_ks[-1] >= count:
        raise DataError(
            f"{printable(vectors.path)} has {vectors.rows:,} vectors, too few for "
            f"{recall_name(config.measured_ks[-1])}",
            hint="give more vectors",
        )
    rows = np.arange(vectors.rows)
    if count < vectors.rows:
        rows = np.sort(np.random.default_rng(config.seed).choice(vectors.rows, count, replace=False))
    return Neighborhoods(torch.from_numpy(read_rows(vectors, rows)), config.measured_ks, config.metric)


def _fitted(config: EmbeddingConfig, vectors: Vectors) -> tuple[Projection | None, str]:
    """Work out the principal components of the training's rows, or of the given ones where these are gone."""
    if config.latent_dim > vectors.dim:
        return None, "nothing"
    try:
        task = EmbeddingTask.prepare(config, lambda _: None)
        if task.vectors.dim == vectors.dim:
            return task.principal, "the rows that it was trained on"
    except DataError:
        pass  # they may have stayed on another machine
    return pca(_chunks(vectors, range(vectors.rows)), config.latent_dim), "the very vectors that are compared"


def _chunks(vectors: Vectors, rows: range) -> Iterator[Tensor]:
    for start in range(rows.start, rows.stop, _CHUNK):
        chosen = np.arange(start, min(start + _CHUNK, rows.stop))
        yield torch.from_numpy(read_rows(vectors, chosen))


@dataclass(frozen=True)
class Judgement:
    """How good an encoder is, and where that is written.

    Attributes:
        summary: The numbers.
        metric: The recall that is watched.
        layout: Where the files are.
    """

    summary: EncoderSummary
    metric: str
    layout: InferenceLayout

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        files = {path.name: str(path) for path in self.layout.files if path.exists()}
        return {**asdict(self.summary), "directory": str(self.layout.directory), "files": files}


def write_judgement(summary: EncoderSummary, metric: str, layout: InferenceLayout) -> Judgement:
    """Write how good an encoder is; the summary for programs comes last.

    Args:
        summary: The numbers.
        metric: The recall that is watched.
        layout: Where the files go.

    Raises:
        StorageError: A file cannot be written.
    """
    write_text(layout.recalls, recall_csv(summary.recalls))
    write_text(layout.summary_text, encoder_text(summary, metric))
    write_json(layout.summary_json, asdict(summary))
    return Judgement(summary, metric, layout)
