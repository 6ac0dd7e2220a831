"""Which image stands where in an epoch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch.utils.data import Sampler

from pochi_cli.config.batches import batch_starts
from pochi_cli.data.shares import Portion, least_portion, portion_of, whole

Order = Literal["sequential", "shuffle", "balanced"]


class SampleKey(NamedTuple):
    """What a sample is asked for with; all that its randomness depends on, besides the seed.

    Attributes:
        epoch: The epoch.
        index: Position of the image in the data.
        draw: How often the image was drawn before in this epoch.
    """

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    draw: int


def derive_seed(*parts: int) -> int:
    """Mix integers into a seed of 64 bits that shares no pattern with its neighbours'."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class EpochBatchSampler(Sampler[list[SampleKey]]):
    """The batches of one epoch; their order is a function of the seed and the epoch alone.

    Args:
        labels: Label of each image.
        batch_size: Images per batch.
        seed: Decides the order.
        order: `sequential` for evaluation; `shuffle`: each image once, in random order; `balanced`: as many
            draws as there are images, with replacement, every class equally likely.
        rank, size: Number of this process among those that share the batches, and how many these are. Of each
            batch they train on they take portions; evaluated are whole batches in turn.
    """

    def __init__(
        self, labels: Sequence[int], batch_size: int, seed: int, order: Order, rank: int = 0, size: int = 1
    ) -> None:
        self.labels = torch.tensor(labels, dtype=torch.int64)
        self.batch_size = batch_size
        self.seed = seed
        self.order = order
        self.size = size
        self._rank = rank
        self._starts = batch_starts(len(labels), batch_size, join_last=order != "sequential")
        self._epoch = 0
        self._start_batch = 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch that is iterated next, and the batch from which on."""
        self._epoch = epoch
        self._start_batch = start_batch

    def pass_over(self, taken: int) -> None:
        """Start after so many more of the batches that this process takes something of."""
        self._start_batch += taken * (self.size if self.order == "sequential" else 1)

    def __len__(self) -> int:
        """Count the batches of a whole epoch, wherever it starts, and whoever takes them."""
        return len(self._starts)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yield the keys of what this process takes of each batch, from the start batch on."""
        for number, keys in self.whole_batches():
            portion = self.portion_in(number)
            yield keys[portion.start : portion.stop]

    def whole_batches(self) -> Iterator[tuple[int, list[SampleKey]]]:
        """Yield number and keys of all batches of which this process takes something."""
        keys = self._keys()
        for number in self.numbers():
            start = self._starts[number]
            yield number, keys[start : start + self._length(number)]

    def numbers(self) -> range:
        """List the batches of which this process takes something, from the start batch on."""
        if self.order == "sequential":
            return range(self._start_batch + self._rank, len(self), self.size)
        return range(self._start_batch, len(self))

    def portion_in(self, number: int) -> Portion:
        """Tell what this process takes of a batch."""
        return self.portion(self._length(number))

    def _length(self, number: int) -> int:
        end = self._starts[number + 1] if number + 1 < len(self) else len(self.labels)
        return end - self._starts[number]

    def portion(self, total: int) -> Portion:
        """Tell what this process takes of a batch of so many images."""
        if self.order == "sequential":
            return whole(total)
        return portion_of(total, self._rank, self.size, least_portion(self.batch_size, self.size))

    def _keys(self) -> list[SampleKey]:
        seen: Counter[int] = Counter()
        keys = []
        for index in self._indices():
            keys.append(SampleKey(self._epoch, index, seen[index]))
            seen[index] += 1
        return keys

    def _indices(self) -> list[int]:
        count = len(self.labels)
        if self.order == "sequential":
            return list(range(count))
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self._epoch))
        chosen = (
            torch.randperm(count, generator=generator)
            if self.order == "shuffle"
            else self._balanced(generator)
        )
        indices: list[int] = chosen.tolist()
        return indices

    def _balanced(self, generator: torch.Generator) -> torch.Tensor:
        """Draw a class, then an image of it, as often as there are images."""
        by_class = torch.argsort(self.labels, stable=True)
        counts = torch.bincount(self.labels)
        counts = counts[counts > 0]
        first = counts.cumsum(0) - counts
        drawn = torch.randint(len(counts), (len(self.labels),), generator=generator)
        place = torch.rand(len(self.labels), generator=generator, dtype=torch.float64)
        return by_class[first[drawn] + (place * counts[drawn]).long()]
