"""Loaders: processes that decode and transform, and what becomes of bad images and dead processes."""

from __future__ import annotations

import multiprocessing
import time
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch.utils.data import DataLoader

from pochi_cli.allocator import return_freed_memory
from pochi_cli.characters import printable
from pochi_cli.config.data import DataConfig
from pochi_cli.config.steps.nested import Pipeline
from pochi_cli.data.batches import Loaders
from pochi_cli.data.cache_choice import NOTHING, Chosen, choose_cache
from pochi_cli.data.datasets import BadImage, Batch, ImageDataset, MixedSizes, Sample, collate
from pochi_cli.data.digits import cache_directory
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.held import HeldImages, Room, hold
from pochi_cli.data.loading import Workers
from pochi_cli.data.prepare import Data
from pochi_cli.data.sampling import EpochBatchSampler, Order
from pochi_cli.data.shares import NO_PEERS, Peers, Portion, least_portion, whole
from pochi_cli.data.transforms import build_pipeline
from pochi_cli.data.worker_processes import dead_worker, raise_if_worker_died, start_worker
from pochi_cli.errors import DataError, StorageError


class Remedies(NamedTuple):
    """What to do about bad images.

    Attributes:
        lost: About a file that vanished.
        undecodable: About one that cannot be decoded.
    """

    lost: str
    undecodable: str


_IN_TRAINING = Remedies(
    lost="bring the data back (is the folder moved, a disk not mounted?), then resume the run",
    undecodable="leave such files out with `--set on_bad_image=skip`, with which the run can go on as well; "
    "or mend or remove the file and train anew",
)


class BatchLoader:
    """Batches of one part of the data, epoch by epoch.

    Attributes:
        dataset: The images.
        sampler: Their order.
        workers: Processes that load.
        cached: Where decoded images are kept.
        skipped: Bad images left out so far, each once; only with `on_bad_image = "skip"`.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        sampler: EpochBatchSampler,
        *,
        workers: Workers,
        device_type: str,
        on_bad_image: Literal["error", "skip"],
        minimum: int,
        remedies: Remedies = _IN_TRAINING,
        cached: Chosen = NOTHING,
        room: Room | None = None,
        peers: Peers = NO_PEERS,
    ) -> None:
        """Start no process yet.

        Args:
            dataset: The images.
            sampler: Their order.
            workers: Processes that load.
            device_type: Type of the device that computes, such as `cuda`.
            on_bad_image: What a file that cannot be decoded does.
            minimum: Batches with fewer good images are passed over.
            remedies: What errors advise.
            cached: Where decoded images are kept.
            room: Where they may be held, to make batches of them at once.
            peers: The processes that share the batches, as the sampler has it.
        """
        self.dataset = dataset
        self.sampler = sampler
        self.workers = workers
        self.cached = cached
        self.skipped: list[BadImage] = []
        self._told = 0
        self._room = room
        self._peers = peers
        self._held: HeldImages | None = None
        self._has_loaded = False
        self._on_bad_image = on_bad_image
        self._minimum = minimum
        self._remedies = remedies
        self._device_type = device_type
        self._stopping = multiprocessing.Event()
        # Before Python's own clearing up at exit, which sends SIGTERM to the workers and waits for them.
        weakref.finalize(self, self._stopping.set)
        self._loader = self._create_loader()

    def _create_loader(self) -> DataLoader[Sample | BadImage]:
        count = self.workers.count
        with _telling_of_cores_elsewhere():
            return DataLoader(
                self.dataset,
                batch_sampler=self.sampler,
                collate_fn=collate,
                num_workers=count,
                pin_memory=self._device_type == "cuda",
                persistent_workers=count > 0,
                worker_init_fn=partial(start_worker, self._stopping, is_nice=self._device_type == "cpu"),
                # Its own, or each epoch would draw from the generator that models are initialised with.
                generator=torch.Generator(),
            )

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""
        return len(self.sampler)

    @property
    def worker_count(self) -> int:
        """Processes that load."""
        return self.workers.count

    def newly_decided(self) -> list[str]:
        """Tell, once, what was decided while loading."""
        text, self.workers.text = self.workers.text, ""
        return [text] if text else []

    def newly_skipped(self) -> list[BadImage]:
        """List the bad images left out since the last call, by this process or its peers."""
        for left_out in self._peers.gather(self.skipped[self._told :]):
            self.skipped += [bad for bad in left_out if bad not in self.skipped]
        new = self.skipped[self._told :]
        self._told = len(self.skipped)
        return new

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[tuple[int, Batch]]:
        """Load an epoch.

        Args:
            epoch: Decides order and random steps.
            start_batch: The first batch wanted; those before it are not loaded.

        Yields:
            The number of each batch within the epoch, from 0, and the batch. Numbers are missing where a
            batch had too few good images.

        Raises:
            DataError: If an image is bad (unless bad ones are skipped) or cannot be read any more, a step
                cannot take an image, images differ in size, a worker process died, or no batch of a whole
                epoch could be used.
        """
        used = 0
        self.sampler.set_epoch(epoch, start_batch)
        numbers = self.sampler.numbers()
        try:
            for number, loaded in zip(numbers, self._loaded(), strict=True):
                batch = self._shared(number, self._checked(loaded))
                if (len(batch) if batch.portion is None else batch.portion.total) >= self._minimum:
                    used += 1
                    yield number, replace(batch, finish=self.dataset.pipeline.finish)
        except GeneratorExit:  # the epoch was interrupted, which matters more than what a full disk does
            with suppress(StorageError):
                self.dataset.cache.flush()
            raise
        self.dataset.cache.flush()
        # Of batches that are taken in turn others may have some that can be used.
        if start_batch == 0 and not (self._peers.size > 1 and self.sampler.order == "sequential"):
            self.require_used(used)

    def require_used(self, count: int) -> None:
        """Check that something of an epoch could be used.

        Raises:
            DataError: Nothing could.
        """
        if count == 0:
            raise DataError(
                f"no batch of {self.dataset.index.root} could be used: "
                f"{len(self.skipped)} bad images were skipped",
                f"the first is {self.skipped[0].path}: {self.skipped[0].reason}" if self.skipped else None,
            )

    def _shared(self, number: int, batch: Batch) -> Batch:
        """Note what is loaded of a batch that is shared; where images of it are bad, that takes agreement."""
        if self._peers.size == 1 or self.sampler.order == "sequential":
            return batch
        planned = self.sampler.portion_in(number)
        if planned.is_whole:
            return replace(batch, portion=whole(len(batch)))
        if self._on_bad_image == "error":
            return replace(batch, portion=planned)
        counts = self._peers.counts(len(batch))
        start, total = sum(counts[: self._peers.rank]), sum(counts)
        if min(counts) >= least_portion(self.sampler.batch_size, self._peers.size):
            return replace(batch, portion=Portion(start, start + len(batch), total))
        # One has too few for a step: what is left of the batch is shared anew.
        found = self._peers.gather((batch.images, batch.labels, batch.indices))
        there = [part for part in found if len(part[1])] or found[:1]
        images, labels, indices = (torch.cat(parts) for parts in zip(*there, strict=True))
        portion = self.sampler.portion(total)
        own = slice(portion.start, portion.stop)
        return replace(batch, images=images[own], labels=labels[own], indices=indices[own], portion=portion)

    def _loaded(self) -> Iterator[Batch | MixedSizes]:
        if self._held is None and self._room is not None:
            self._held = hold(self.dataset, self._room, has_trained=self._has_loaded)
            if self._held is not None:
                self.workers.end()
                self._loader = self._create_loader()  # without the processes that there may have been
        processes_begin, self._has_loaded = not self._has_loaded, True
        if self._held is not None:
            yield from map(self._held.batch, self.sampler)
            return
        if self.workers.count == 0:
            done = 0
            for loaded in self._watched():
                yield loaded
                done += 1
                if self.workers.count:
                    break
            else:
                return
            # From the next batch on, processes load.
            self._loader = self._create_loader()
            self.sampler.pass_over(done)
            processes_begin = True
        if processes_begin:
            return_freed_memory()  # forked processes would hold its pages, and using them would copy each
        try:
            with _telling_of_cores_elsewhere():
                batches = iter(self._loader)
            yield from batches
        except RuntimeError as error:
            raise_if_worker_died(error)
            raise
        except (ConnectionError, EOFError) as error:  # in the middle of giving a batch
            raise dead_worker(error) from error

    def _watched(self) -> Iterator[Batch | MixedSizes]:
        """Load in this process, and note how long that takes beside what is done with a batch."""
        batches = iter(self._loader)
        while True:
            asked = time.perf_counter()
            loaded = next(batches, None)
            if loaded is None:
                return
            given = time.perf_counter()
            yield loaded
            if self.workers.is_open:
                self.workers.watch(given - asked, time.perf_counter() - given)

    def _checked(self, loaded: Batch | MixedSizes) -> Batch:
        if isinstance(loaded, MixedSizes):
            raise _mixed_sizes(self.dataset.index, loaded)
        for bad in loaded.bad:
            if bad.stage == "read":
                raise DataError(
                    f"{bad.path}: {bad.reason}; the file was there when this began", self._remedies.lost
                )
            if bad.stage == "transform":
                raise DataError(f"{bad.path}: {bad.reason}", "resize first, or change the step")
            if self._on_bad_image == "error":
                raise DataError(f"{bad.path}: {bad.reason}", self._remedies.undecodable)
            if bad not in self.skipped:
                self.skipped.append(bad)
        return loaded


@contextmanager
def _telling_of_cores_elsewhere() -> Iterator[None]:
    """Keep torch from warning of more processes than cores, which are told with the other decisions."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")
        yield


def _mixed_sizes(index: FolderIndex, mixed: MixedSizes) -> DataError:
    told = [
        f"{printable(index.file(i))} ({height} x {width})"
        for i, (height, width) in zip(mixed.indices, mixed.sizes, strict=True)
    ]
    return DataError(
        f"the transform gives tensors of different sizes (height x width): {told[0]} and {told[1]}",
        "add Resize and CenterCrop, Letterbox, or RandomResizedCrop",
    )


def create_loaders(
    config: DataConfig,
    data: Data,
    *,
    seed: int,
    device_type: str,
    order: Order = "shuffle",
    epochs: int = 1,
    free_memory: int | None = None,
    room: Room | None = None,
    peers: Peers = NO_PEERS,
    cores: int | None = None,
    had_workers: Sequence[bool] = (),
    fills_cache: bool = True,
) -> Loaders[BatchLoader]:
    """Create the loaders of training and validation data.

    Args:
        config: Batch size, workers, transforms, normalisation, cache, bad images.
        data: The prepared data.
        seed: Seed of order and random steps.
        device_type: Type of the device that computes, such as `cuda`.
        order: Order of the training data.
        epochs: How often the images are read.
        free_memory: Bytes of main memory that are free; `None` if unknown.
        room: Where images may be held once they are decoded, to make batches of them at once.
        peers: The processes that share the batches.
        cores: How many there are for processes that load; `None`: those this process may use.
        had_workers: Whether processes loaded training and validation data, where a run goes on.
        fills_cache: Whether a cache on the disk is filled, of several processes by one.

    Raises:
        DataError: If there are validation data but no `val_transform`, or a transform cannot be built.
        StorageError: If a cache on the disk cannot be made.
    """

    def create(
        index: FolderIndex, steps: Pipeline, ordered: Order, minimum: int, free: int | None, had: bool
    ) -> BatchLoader:
        cached = choose_cache(
            config.cache,
            index,
            steps,
            passes=epochs,
            free=free,
            directory=cache_directory() / "images",
            fills=fills_cache,
        )
        dataset = ImageDataset(index, build_pipeline(steps, config.mean, config.std), seed, cached.cache)
        batches = EpochBatchSampler(
            index.labels, config.images_per_batch, seed, ordered, peers.rank, peers.size
        )
        return BatchLoader(
            dataset,
            batches,
            workers=Workers(config.num_workers, device_type, len(batches) * epochs, cores, had=had),
            device_type=device_type,
            on_bad_image=config.on_bad_image,
            minimum=minimum,
            cached=cached,
            room=None if cached.place == "disk" else room,
            peers=peers,
        )

    # Training batches are joined so that none has one image; those of an order that is kept are not.
    least = 1 if order == "sequential" else min(2, config.images_per_batch)
    train_had, val_had = (*had_workers, False, False)[:2]
    train = create(data.train, config.train_transform, order, least, free_memory, train_had)
    if data.val is None:
        return Loaders(train, None)
    if config.val_transform is None:
        raise DataError("val_transform is missing, and there are validation data")
    left = None if free_memory is None else max(0, free_memory - train.cached.claimed)
    return Loaders(train, create(data.val, config.val_transform, "sequential", 1, left, val_had))
