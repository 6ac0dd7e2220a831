"""What a training needs of its data, whatever they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from pochi_cli.data.datasets import BadImage

B_co = TypeVar("B_co", covariant=True)
"""A batch."""
L_co = TypeVar("L_co", covariant=True)
"""A loader."""


class Loader(Protocol[B_co]):
    """Batches of one part of the data, epoch by epoch."""

    @property
    def skipped(self) -> Sequence[BadImage]:
        """What was left out so far."""

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""

    @property
    def worker_count(self) -> int:
        """Processes that load."""

    def newly_decided(self) -> Sequence[str]:
        """Tell, once, what was decided while loading."""

    def newly_skipped(self) -> Sequence[BadImage]:
        """List what was left out since the last call."""

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[tuple[int, B_co]]:
        """Load an epoch, from a batch on; each comes with its number, from 0."""


class Loaders(NamedTuple, Generic[L_co]):
    """The loaders of a run; `val` is `None` without validation data."""

    train: L_co
    val: L_co | None
