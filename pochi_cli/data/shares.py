"""How the processes that train together share the images of a batch."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar

T = TypeVar("T")


class Portion(NamedTuple):
    """What a process computes of a batch.

    Attributes:
        start, stop: Its samples.
        total: Samples of the whole batch.
    """

    start: int
    stop: int
    total: int

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the batch: the process is alone, or the batch is too small to be shared."""
        return self.stop - self.start == self.total


def whole(total: int) -> Portion:
    """All of a batch."""
    return Portion(0, total, total)


def portion_of(total: int, rank: int, size: int, least: int) -> Portion:
    """Cut a batch into consecutive portions whose sizes differ by one at most.

    Args:
        total: Samples of the batch.
        rank: Of the process that asks.
        size: How many processes there are.
        least: Samples that each needs. A batch of fewer is not shared: every process computes all of it, and
            the mean of their gradients is that of one.
    """
    if total < size * least:
        return whole(total)
    smaller, more = divmod(total, size)
    start = rank * smaller + min(rank, more)
    return Portion(start, start + smaller + (rank < more), total)


def least_portion(batch_size: int, size: int) -> int:
    """Samples that a process needs: two, as batch normalisation does, unless a batch has but one for each."""
    return min(2, max(1, batch_size // size))


class Peers(Protocol):
    """The processes that train together, as far as loading concerns them."""

    @property
    def rank(self) -> int:
        """Number of this one, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    def counts(self, count: int) -> list[int]:
        """Tell the others a number, and learn theirs, in the order of the ranks."""

    def gather(self, value: T) -> list[T]:
        """Give the others a value, and take theirs, in the order of the ranks."""


class NoPeers:
    """A process that trains alone."""

    rank = 0
    size = 1

    def counts(self, count: int) -> list[int]:
        """Learn one's own number."""
        return [count]

    def gather(self, value: Any) -> list[Any]:
        """Take one's own value."""
        return [value]


NO_PEERS = NoPeers()
