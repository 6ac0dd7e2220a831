"""A trained encoder, ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pochi_cli.characters import printable
from pochi_cli.config.load import validate
from pochi_cli.config.root import EmbeddingConfig
from pochi_cli.data.vectors import Vectors, check_rows, read_rows
from pochi_cli.engine.checkpoint import load_checkpoint, load_weights
from pochi_cli.engine.encoding import encode
from pochi_cli.engine.memory import explaining_batches
from pochi_cli.engine.runtime import Runtime, choose_runtime, own_runtime
from pochi_cli.errors import ConfigError, DataError, RunError
from pochi_cli.inference.model import find_checkpoint
from pochi_cli.models.encoder import Encoder
from pochi_cli.runs.index import Run
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
        for latents in encode(loaded.model, read_chunks(vectors), loaded.runtime):
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


def read_chunks(vectors: Vectors) -> Iterator[Tensor]:
    """Read all vectors in their order, float32 (n, D) at a time."""
    for start in range(0, vectors.rows, _CHUNK):
        chosen = np.arange(start, min(start + _CHUNK, vectors.rows))
        yield torch.from_numpy(read_rows(vectors, chosen))
