"""What an embedding config asks of its vectors, held against them. Free of torch."""

from __future__ import annotations

from pathlib import Path

from pochi_cli.characters import printable
from pochi_cli.config.embedding import DIGITS, VectorDataConfig
from pochi_cli.config.recalls import recall_name
from pochi_cli.config.root import EmbeddingConfig
from pochi_cli.data.digits import digits_vectors
from pochi_cli.data.vectors import Vectors, open_vectors
from pochi_cli.errors import DataError, Diagnostic


def open_train_vectors(config: VectorDataConfig) -> Vectors:
    """Open the vectors that a config names.

    Raises:
        DataError: They cannot be used.
        StorageError: The digits cannot be written to the cache.
    """
    path = digits_vectors() if config.train_vectors == DIGITS else Path(config.train_vectors)
    return open_vectors(path, config.vector_column)


def check_counts(config: EmbeddingConfig, train: int, held: int) -> None:
    """Hold the numbers of rows to train on and held out against what the config asks for.

    Raises:
        DataError: There are too few.
    """
    path = printable(config.train_vectors)
    if train < config.batch_size:
        raise DataError(
            f"{path} has {train:,} rows to train on, fewer than batch_size ({config.batch_size:,})",
            hint=f"set batch_size = {train} or less" if train > 1 else "train on more vectors",
        )
    most, pool = config.measured_ks[-1], min(held, config.recall_samples)
    if held and most >= pool:
        raise DataError(
            f"{path}: of {pool:,} held-out rows each has {pool - 1:,} others, too few for "
            f"{recall_name(most)}",
            hint="hold out more (holdout), or ask for fewer neighbours (recall_ks and k)",
        )


def check_dimensions(config: EmbeddingConfig, dim: int) -> list[Diagnostic]:
    """Hold the encoder's dimensions against those of the vectors."""
    if config.init != "pca_residual" or config.latent_dim <= dim:
        return []
    return [
        Diagnostic(
            "out-of-range",
            f"latent_dim is {config.latent_dim}, but the vectors have {dim} dimensions, and so many "
            "principal components",
            ("latent_dim",),
            help=f'set latent_dim to {dim} at most, or init = "random"',
        )
    ]
