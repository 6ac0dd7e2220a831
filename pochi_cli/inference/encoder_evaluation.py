"""How many neighbours a trained encoder keeps, beside encodings that are not learnt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pochi_cli.characters import printable
from pochi_cli.config.recalls import recall_name
from pochi_cli.config.root import EmbeddingConfig
from pochi_cli.data.vectors import Vectors, check_rows, open_vectors, read_rows
from pochi_cli.engine.embedding import EmbeddingTask
from pochi_cli.engine.neighborhoods import Neighborhoods
from pochi_cli.errors import DataError, RunError
from pochi_cli.inference.encoder import LoadedEncoder, check_dimension, load_encoder, read_chunks
from pochi_cli.inference.encoder_summary import EncoderSummary, encoder_text, recall_csv
from pochi_cli.models.projections import Projection, pca
from pochi_cli.runs.atomic import write_json, write_text
from pochi_cli.runs.epochs import EmbeddingEpoch
from pochi_cli.runs.index import Run
from pochi_cli.runs.inference_layout import InferenceLayout


@dataclass(frozen=True)
class EncoderEvaluation:
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


def write_evaluation(summary: EncoderSummary, metric: str, layout: InferenceLayout) -> EncoderEvaluation:
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
    return EncoderEvaluation(summary, metric, layout)


def evaluate_encoder(
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
    kept = neighborhoods.evaluate(loaded.model, loaded.runtime)
    learnt = {recall_name(k): value for k, value in kept.recall.items()}
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
        spread=kept.spread,
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
    loaded = load_encoder(run.layout.latest_model)
    task = EmbeddingTask.prepare(loaded.config, lambda _: None)
    if task.fingerprint != run.record.data_fingerprint:
        raise DataError(f"the vectors of {run.layout.name} have changed since it began")
    if task.neighborhoods is None:
        raise DataError(f"nothing was held out of {run.layout.name}")
    return replace(epochs[-1], recall=task.neighborhoods.evaluate(loaded.model, loaded.runtime).recall)


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
    return pca(read_chunks(vectors), config.latent_dim), "the very vectors that are compared"
