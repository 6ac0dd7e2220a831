"""Batches of stored vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pochi_cli.config.batches import batch_starts
from pochi_cli.data.datasets import BadImage
from pochi_cli.data.sampling import derive_seed
from pochi_cli.data.shares import Portion, least_portion, portion_of, whole
from pochi_cli.data.vectors import Vectors, read_rows


class VectorBatch(NamedTuple):
    """Vectors, float32 (n, D), and what they are of the batch that several processes share."""

    vectors: Tensor
    portion: Portion


class VectorLoader:
    """Batches of some rows, epoch by epoch.

    While training each row comes once, and a last batch of a single row joins the one before. For evaluation
    all batches have the same size, on which the losses depend: the last one overlaps the one before.

    Args:
        vectors: The vectors.
        rows: Numbers of the rows, int64 (N,).
        batch_size: Rows per batch.
        seed: Decides the order, together with the epoch alone; `None`, for evaluation, keeps that of `rows`.
        rank, size: Number of this process among those that share the batches, and how many these are. Of each
            batch they train on they take portions; evaluated are whole batches in turn.
    """

    skipped: tuple[BadImage, ...] = ()
    """Bad rows are refused before; none is left out."""
    worker_count = 0

    def __init__(
        self,
        vectors: Vectors,
        rows: NDArray[np.integer[Any]],
        batch_size: int,
        seed: int | None = None,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        self._rank, self._size = rank, size
        self._least = least_portion(batch_size, size)
        self._vectors = vectors
        self._rows = rows
        self._seed = seed
        self._starts = list(batch_starts(len(rows), batch_size, join_last=True))
        self._ends = [*self._starts[1:], len(rows)]
        if seed is None:
            starts = range(0, len(rows), batch_size)
            self._ends = [min(start + batch_size, len(rows)) for start in starts]
            self._starts = [max(end - batch_size, 0) for end in self._ends]

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""
        return len(self._starts)

    def newly_decided(self) -> tuple[str, ...]:
        """Nothing ever is."""
        return ()

    def newly_skipped(self) -> tuple[BadImage, ...]:
        """None ever is."""
        return ()

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[tuple[int, VectorBatch]]:
        """Read an epoch.

        Args:
            epoch: Decides the order.
            start_batch: The first batch wanted.

        Yields:
            The number of each batch within the epoch, from 0, and what this process takes of it.
        """
        rows = self._rows
        if self._seed is not None:
            generator = torch.Generator().manual_seed(derive_seed(self._seed, epoch))
            rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
        is_training = self._seed is not None
        first, step = (start_batch, 1) if is_training else (start_batch + self._rank, self._size)
        for number in range(first, len(self._starts), step):
            chosen = rows[self._starts[number] : self._ends[number]]
            portion = whole(len(chosen))
            if is_training:
                portion = portion_of(len(chosen), self._rank, self._size, self._least)
            own = chosen[portion.start : portion.stop]
            yield number, VectorBatch(torch.from_numpy(read_rows(self._vectors, own)), portion)
