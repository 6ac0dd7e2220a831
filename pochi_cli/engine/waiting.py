"""How long a training waits for data."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TypeVar

import torch

B = TypeVar("B")


class Waiting:
    """Measures how long the device waits for batches: one that is not CUDA for as long as this process.

    A CUDA device is told its work in advance, and is still busy with it when this process begins to wait.

    Args:
        device: What computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._process_s = 0.0
        self._gaps = _CudaGaps(device) if device.type == "cuda" else None

    @property
    def seconds(self) -> float:
        """So far; waits for a CUDA device."""
        return self._process_s if self._gaps is None else self._gaps.seconds()

    def timed(self, batches: Iterator[B]) -> Iterator[B]:
        """Pass batches on."""
        while True:
            asked = time.monotonic()
            if self._gaps is not None:
                self._gaps.begin()
            batch = next(batches, None)
            self._process_s += time.monotonic() - asked
            if self._gaps is not None:
                self._gaps.end()
            if batch is None:
                return
            yield batch


class _CudaGaps:
    """Adds up the time that passes on a device between two marks in its work.

    A mark is reached when all work given before it is done. Between two of them nothing is given but what
    makes a batch of images that are held on the device, which counts as waiting for it: from the first to the
    second passes the time in which the device has no step to work on, and none if the first comes late.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._pending: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()
        self._milliseconds = 0.0

    def begin(self) -> None:
        self._first = self._mark()

    def end(self) -> None:
        self._pending.append((self._first, self._mark()))
        while self._pending[0][1].query():  # type: ignore[no-untyped-call]
            self._add()
            if not self._pending:
                return

    def seconds(self) -> float:
        while self._pending:
            self._pending[0][1].synchronize()
            self._add()
        return self._milliseconds / 1e3

    def _add(self) -> None:
        first, second = self._pending.popleft()
        self._milliseconds += first.elapsed_time(second)

    def _mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event
