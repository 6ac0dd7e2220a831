"""Processes that load images: how they begin, and how their death is told."""

from __future__ import annotations

import os
import re
import signal
import threading
from multiprocessing.synchronize import Event
from types import FrameType

import torch

from pochi_cli.allocator import keep_little
from pochi_cli.errors import DataError

# An exception inside a worker reads "Caught ... in DataLoader worker process", and is another matter.
_DEAD_WORKER = re.compile(r"DataLoader worker \(pid")

_NICENESS = 15
"""Of processes that load where the model is computed on the same cores: they take what it leaves, and all of
them while it waits. Each step waits for its slowest thread: one that shares its core would hold up all.

On two cores a step of 183 ms took 215 beside two processes of niceness 10, 201 of 13, 191 of 16, 187 of 19;
with the wait for its batch that was 222, 213, 207, 204 ms. But where other programs keep all cores busy, such
processes starve: 157 images/s with 10, 144 with 13, 94 with 15, 52 with 19."""


def start_worker(stopping: Event, worker: int, *, is_nice: bool) -> None:  # noqa: ARG001 - DataLoader gives its number
    """Prepare a process that loads.

    Ctrl+C and many a SIGTERM reach the whole group of processes: the main one decides, and a worker obeys
    only when that says so.
    """

    def obey(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, obey)
    torch.set_num_threads(1)
    keep_little()
    if is_nice and hasattr(os, "nice"):  # not on Windows
        os.nice(_NICENESS)


def raise_if_worker_died(error: BaseException) -> None:
    """Tell the death of a loading process from other errors.

    torch raises it wherever the main thread happens to be, also where that makes another error of it, and
    again whenever any other process ends. From then on it is kept from that: a death is still noticed where
    batches are waited for.

    Raises:
        DataError: A process that loads images was killed.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RuntimeError) and _DEAD_WORKER.search(str(cause)):
            if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            raise dead_worker(cause) from error
        cause = cause.__cause__ or cause.__context__


def dead_worker(error: BaseException) -> DataError:
    """Make the error that tells of such a death."""
    return DataError(
        f"a process that loads images died: {error}",
        "it may have run out of memory, or of shared memory (/dev/shm): try fewer num_workers, or 0",
    )
