"""What an embedding config asks of its vectors, held against them. Free of torch."""

from __future__ import annotations

from pathlib import Path

from pochi_cli.characters import printable
from pochi_cli.config.embedding import DIGITS, VectorDataConfig
from pochi_cli.config.root import EmbeddingConfig
from pochi_cli.data.digits import digits_vectors
from pochi_cli.data.vectors import Vectors, open_vectors
from pochi_cli.errors import Diagnostic


def open_train_vectors(config: VectorDataConfig) -> Vectors:
    """Open the vectors that a config names.

    Raises:
        DataError: They cannot be used.
        StorageError: The digits cannot be written to the cache.
    """
    path = digits_vectors() if config.train_vectors == DIGITS else Path(config.train_vectors)
    return open_vectors(path, config.vector_column)


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def check_demands(config: EmbeddingConfig, train: int, held: int, dim: int) -> list[Diagnostic]:
    """Hold what a config asks for against its vectors.

    Args:
        config: The config.
        train: Rows to train on.
        held: Rows that are held out.
        dim: Dimensions of the vectors.
    """
    path = printable(config.train_vectors)
    found = []
    if train < config.batch_size:
        found.append(
            Diagnostic(
                "out-of-range",
                f"batch_size is {config.batch_size:,}, but {path} has only {train:,} {_rows(train)} "
                "to train on",
                ("batch_size",),
                help=f"set batch_size = {train} or less" if train > 1 else "train on more vectors",
            )
        )
    most, pool = config.measured_ks[-1], min(held, config.recall_samples)
    if held and most >= pool:
        key = "k" if most == config.k else "recall_ks"
        found.append(
            Diagnostic(
                "out-of-range",
                f"{key} asks for {most} neighbours, but of {pool:,} held-out rows in {path} each has "
                f"{pool - 1:,} others",
                (key,),
                help="hold out more (holdout), or ask for fewer",
            )
        )
    if config.init == "pca_residual" and config.latent_dim > dim:
        found.append(
            Diagnostic(
                "out-of-range",
                f"latent_dim is {config.latent_dim}, but the vectors have {dim} dimensions, and so many "
                "principal components",
                ("latent_dim",),
                help=f'set latent_dim to {dim} at most, or init = "random"',
            )
        )
    return found
