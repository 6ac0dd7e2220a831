"""Training by several processes, each on its own device or cores.

Every process has the whole model and computes a portion of every batch; their gradients are averaged
(`DistributedDataParallel`). What a run is does not depend on how many there are: batch_size counts the images
of all, and order, augmentation, mixing and losses are those of one process; only batch normalisation is by
each one's own images, unless it is synchronised. Between two steps all processes
hold the same weights, buffers, sums and decisions; the first one alone writes and tells.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from inspect import signature
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pochi_cli.data.shares import NoPeers, Portion
from pochi_cli.errors import DeviceError, Interrupted, PeerLostError, PochiError, first_line
from pochi_cli.models.sync_norm import normalising_by_own, synced_norms
from pochi_cli.ranks import Rank

T = TypeVar("T")

Outputs = Callable[[nn.Module, Tensor], Tensor]
"""Computes a model's outputs from the inputs of a step."""

_PATIENCE = timedelta(minutes=30)
"""How long processes wait for one another: for the first one's pictures, a download, a slow disk."""
_LOOKS_EVERY_S = 1.0
_LOST = re.compile(
    r"gloo|Connection (closed|reset|refused)|Socket Timeout|process group|ncclRemoteError", re.IGNORECASE
)
"""What is told where another process has gone; what else fails between them is an error of this one."""
_TOLD, _REASON = "told", "reason"
_JOINED = itertools.count()
"""A process may train several times with the others, whose notes of before still lie in the store."""


class Forward:
    """Computes the outputs of a training step.

    Args:
        model: The model that is trained.
        outputs: What it computes.
    """

    def __init__(self, model: nn.Module, outputs: Outputs) -> None:
        self._model = model
        self._outputs = outputs

    def __call__(self, inputs: Tensor) -> Tensor:
        """Compute the outputs (n, ...) of inputs (n, ...)."""
        return self._outputs(self._model, inputs)

    def batch(self, portion: Portion, *, is_last: bool) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Run forward and backward of a batch inside the block; the last of a step averages gradients."""
        return nullcontext()

    def average_buffers(self) -> None:
        """Make the running statistics the same everywhere."""


class Alone(NoPeers):
    """A process that trains alone."""

    is_first = True

    def __init__(self, place: Rank = Rank()) -> None:  # noqa: B008 - it is immutable
        self.place = place

    def one_first(self) -> AbstractContextManager[Any]:
        """Run the block, which may download files, in one process of each machine before the others."""
        return nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        """Add up what each has."""
        return values

    def first(self, value: T) -> T:
        """Take what the first has."""
        return value

    def merge(self, values: Tensor, portion: Portion) -> Tensor:  # noqa: ARG002
        """Put the portions of a batch together."""
        return values

    def forward(self, model: nn.Module, outputs: Outputs) -> Forward:
        """Make what computes the outputs of a training step."""
        return Forward(model, outputs)

    def raise_if_lost(self, error: BaseException) -> None:
        """There is none that could be lost."""

    def rounds(self, batches: Iterator[T], count: int) -> Iterator[T | None]:  # noqa: ARG002
        """Take batches in turn."""
        return iter(batches)


ALONE = Alone()


class Team(Alone):
    """Processes that train together.

    All of them call the same methods in the same order; each call waits for the others.

    Args:
        place: Of this one.
        device: Of this one.
        store: Where they leave notes.
    """

    def __init__(self, place: Rank, device: torch.device, store: dist.Store) -> None:  # type: ignore[name-defined]
        self.place = place
        self.rank = place.rank
        self.size = place.world_size
        self.is_first = place.is_first
        self._device = device
        self._store = store

    @contextmanager
    def one_first(self) -> Iterator[None]:
        """Run the block, which may download files, in one process of each machine before the others."""
        is_one = self.place.local_rank == 0
        if not is_one:
            self.counts(0)
        yield
        if is_one:
            self.counts(0)

    def sum(self, values: Tensor) -> Tensor:
        """Add up what each has; on a GPU the host does not wait for it."""
        dist.all_reduce(values)
        return values

    def first(self, value: T) -> T:
        """Take what the first has; plain values, or what can be pickled."""
        told = [value]
        dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
        return told[0]

    def gather(self, value: T) -> list[T]:
        """Give the others a value, and take theirs, in the order of the ranks."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def counts(self, count: int) -> list[int]:
        """Tell the others a number, and learn theirs, without waiting for a GPU."""
        found = [torch.empty(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(found, torch.tensor([count]))
        return [int(number) for number in found]

    def merge(self, values: Tensor, portion: Portion) -> Tensor:
        """Put the portions of a batch together.

        Args:
            values: (n, ...), this one's.
            portion: What it is of the batch.

        Returns:
            (N, ...), without gradient.
        """
        if portion.is_whole:
            return values
        counts = self.counts(len(values))
        padded = values.detach().new_zeros((max(counts), *values.shape[1:]))
        padded[: len(values)] = values.detach()
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])

    def forward(self, model: nn.Module, outputs: Outputs) -> Forward:
        """Make what computes the outputs of a training step, and averages the gradients behind it."""
        return SharedForward(model, outputs, self._device)

    def rounds(self, batches: Iterator[T], count: int) -> Iterator[T | None]:
        """Take batches in turn; in the last round there may be none left for this one."""
        for _ in range(-(-count // self.size)):
            yield next(batches, None)
        # What is done after the last batch is done here, too.
        assert next(batches, None) is None, "more batches than were told"

    def raise_if_lost(self, error: BaseException) -> None:
        """Tell the loss of another process from other errors.

        Raises:
            PeerLostError: One of them ended.
        """
        if not isinstance(error, RuntimeError):
            return
        reason = self._last_words()
        is_network = isinstance(error, dist.DistNetworkError | dist.DistStoreError)
        is_lost = is_network or _LOST.search(str(error)) is not None
        if not is_lost and (reason is None or not isinstance(error, dist.DistError)):
            return
        # Of one that was killed torch's launcher, and ours, says which it was and how.
        is_told = reason is not None or "TORCHELASTIC_RUN_ID" in os.environ
        # What gloo says is of no use: that a connection has ended.
        more = "" if "gloo" in str(error) else f" ({first_line(error)})"
        reason = reason or f"another process was killed, or ended without a word{more}"
        raise PeerLostError(reason, is_told=is_told) from error

    def _last_words(self) -> str | None:
        try:
            return self._store.get(_REASON).decode() if self._store.check([_REASON]) else None
        except RuntimeError:  # the store has gone with the process that kept it
            return None

    def leave_word(self, error: BaseException) -> bool:
        """Leave the others the reason why this one ends; returns whether it is the first to do so."""
        reason = error.message if isinstance(error, PochiError) else f"{type(error).__name__}: {error}"
        try:
            if self._store.add(_TOLD, 1) > 1:
                return False
            self._store.set(_REASON, f"process {self.rank}: {reason}")
        except RuntimeError:  # the store has gone with the process that kept it
            pass
        return True


class SharedForward(Forward):
    """The same by processes that average their gradients.

    Args:
        model: The same weights everywhere.
        outputs: What it computes.
        device: Of this process.
    """

    def __init__(self, model: nn.Module, outputs: Outputs, device: torch.device) -> None:
        super().__init__(model, outputs)
        self._norms = synced_norms(model)
        self._own = [
            buffer
            for norm in normalising_by_own(model)
            for buffer in norm.buffers(recurse=False)
            if buffer.is_floating_point()
        ]
        # Buffers are averaged after the step. What says so has another name since torch 2.14.
        known = signature(nn.parallel.DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        not_buffers: dict[str, Any] = {name: False}
        self._shared = nn.parallel.DistributedDataParallel(
            _Outputs(model, outputs),
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            **not_buffers,
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        """Compute the outputs (n, ...) of inputs (n, ...)."""
        outputs: Tensor = self._shared(inputs)
        return outputs

    def batch(self, portion: Portion, *, is_last: bool) -> AbstractContextManager[Any]:
        """Average the gradients in the last batch of a step only; normalise by all images of a batch."""
        for norm in self._norms:
            norm.is_whole = portion.is_whole
        return nullcontext() if is_last else self._shared.no_sync()

    @torch.no_grad()
    def average_buffers(self) -> None:
        """Average the running statistics, where they are not the same, so that no portion counts for more."""
        if not self._own:
            return
        flat = torch.cat([buffer.reshape(-1).float() for buffer in self._own])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        parts = torch.split(flat, [buffer.numel() for buffer in self._own])
        for buffer, part in zip(self._own, parts, strict=True):
            buffer.copy_(part.view_as(buffer))


class _Outputs(nn.Module):
    """What `DistributedDataParallel` needs: a module whose parameters are the model's."""

    def __init__(self, model: nn.Module, outputs: Outputs) -> None:
        super().__init__()
        self.model = model
        self._outputs = outputs

    def forward(self, inputs: Tensor) -> Tensor:
        return self._outputs(self.model, inputs)


@contextmanager
def joined(place: Rank, device: torch.device) -> Iterator[Alone]:
    """Join the processes that were launched together, if any were, to train with them inside the block.

    Args:
        place: Of this one.
        device: Of this one: the CPU, or a CUDA device of its own.
    """
    if place.is_alone:
        yield Alone(place)
        return
    _end_with_launcher()
    number = next(_JOINED)
    store, rank, size = next(dist.rendezvous("env://", timeout=_PATIENCE))  # type: ignore[attr-defined]
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend,
        store=dist.PrefixStore(f"group {number}", store),  # type: ignore[attr-defined]
        rank=rank,
        world_size=size,
        timeout=_PATIENCE,
        device_id=device if device.type == "cuda" else None,
    )
    team = Team(place, device, dist.PrefixStore(f"notes {number}", store))  # type: ignore[attr-defined]
    try:
        yield team
    except PeerLostError:
        raise
    except Interrupted as stop:  # all of them stop
        stop.is_told = not place.is_first
        dist.destroy_process_group()
        raise
    except PochiError as error:
        error.is_told = not team.leave_word(error)
        raise
    except BaseException as error:
        team.leave_word(error)
        raise
    # Where something failed, others may hang: only the end of this process frees them.
    dist.destroy_process_group()


def _end_with_launcher() -> None:
    """Let this process end as by SIGTERM, saved, if the one that launched it is killed and can end none."""
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(_LOOKS_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="watching the launcher").start()


def check_batches(batch_size: int, team: Alone) -> None:
    """Check that there is something for each process to compute.

    Raises:
        DeviceError: A batch has fewer samples than there are processes.
    """
    if batch_size < team.size:
        raise DeviceError(
            f"batch_size is {batch_size}, too few for {team.size} processes, which share each batch",
            hint="batch_size counts the samples of all processes: raise it, or start fewer",
        )


_FEW = 8
"""Images by whose mean and variance a batch norm normalises badly (Wu and He, 2018, figure 1)."""


def doubts(model: nn.Module, batch_size: int, team: Alone) -> tuple[str, ...]:
    """Tell what is doubtful about sharing batches of so many samples."""
    portion = batch_size // team.size
    if team.size == 1 or portion >= _FEW or not normalising_by_own(model):
        return ()
    return (
        f"each of {team.size} processes normalises by {portion} images, which are few: "
        "raise batch_size, or set sync_batch_norm = true",
    )


def counting(team: Alone, portion: Portion) -> tuple[bool, float]:
    """Tell whether a process counts its losses, and by what it multiplies the loss of its portion.

    The mean over the processes of what they minimise is then the mean over the samples: of a batch that each
    computes whole one counts, and a portion's part of the mean is taken as often as there are processes.
    """
    return (team.is_first, 1.0) if portion.is_whole else (True, float(team.size))


def in_order(team: Alone, rows: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
    """Put what each process has of the batches that it took in turn into the order of the batches.

    Args:
        team: All processes.
        rows: This one's, each with the number of its batch, float64 (sums,).
    """
    if team.size == 1:
        return [row for _, row in rows]
    found = team.gather([(number, row.tolist()) for number, row in rows])
    ordered = sorted(one for part in found for one in part)
    return [torch.tensor(row, dtype=torch.float64) for _, row in ordered]
