"""Vectors and embedding configs small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pochi_cli.config.load import validate
from pochi_cli.config.root import EmbeddingConfig


def make_vectors(rows: int = 200, dim: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Vectors on a curved surface of few dimensions, with a little noise: there is something to learn."""
    generator = np.random.default_rng(seed)
    hidden = generator.normal(size=(rows, 3))
    bent = np.tanh(hidden @ generator.normal(size=(3, dim))) + 0.05 * generator.normal(size=(rows, dim))
    return bent.astype(np.float32)


def write_vectors(directory: Path, values: NDArray[Any] | None = None) -> Path:
    """Write them as `vectors.npy`."""
    path = directory / "vectors.npy"
    np.save(path, make_vectors() if values is None else values)
    return path


def vector_raw(path: Path, **changes: Any) -> dict[str, Any]:
    """A raw embedding config. A change to `None` removes a key."""
    raw: dict[str, Any] = {
        "task": "embedding",
        "train_vectors": str(path),
        "holdout": 0.25,
        "latent_dim": 4,
        "hidden_dims": [16],
        "tau": 0.3,
        "tau_mode": "relative",
        "epochs": 2,
        "batch_size": 32,
        "recall_ks": [1, 5],
        "recall_every_epochs": 1,
        "device": "cpu",
        "threads": 1,
        "work_dir": str(path.parent / "work_dirs"),
    }
    return {key: value for key, value in (raw | changes).items() if value is not None}


def vector_config(path: Path, **changes: Any) -> EmbeddingConfig:
    """The same, validated."""
    config = validate(vector_raw(path, **changes))
    assert isinstance(config, EmbeddingConfig)
    return config
