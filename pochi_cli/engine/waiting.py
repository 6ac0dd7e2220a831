"""How long a training waits for data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

B = TypeVar("B")

IdleSince = Callable[[], float]
"""Tells since when the device has been done with its work, by `time.monotonic`; infinite: it is not yet."""


class Waiting:
    """Measures how long the device waits for batches.

    Args:
        device: What computes. Only of CUDA is it known how far it has got: it is still busy with earlier
            steps where the process waits already.

    Attributes:
        seconds: So far.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._mark = _CudaMarks(device) if device.type == "cuda" else _mark_now

    def timed(self, batches: Iterator[B]) -> Iterator[B]:
        """Pass batches on."""
        while True:
            asked, idle_since = time.monotonic(), self._mark()
            batch = next(batches, None)
            self.seconds += max(0.0, time.monotonic() - max(asked, idle_since()))
            if batch is None:
                return
            yield batch


def _mark_now() -> IdleSince:
    now = time.monotonic()
    return lambda: now


class _CudaMarks:
    """Marks in the work of a device, each behind all that it was given until then."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._zero = self._record()
        self._zero.synchronize()
        self._zero_s = time.monotonic()

    def __call__(self) -> IdleSince:
        mark = self._record()

        def idle_since() -> float:
            if not mark.query():  # type: ignore[no-untyped-call]
                return math.inf
            after_ms: float = self._zero.elapsed_time(mark)
            return self._zero_s + after_ms / 1e3

        return idle_since

    def _record(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event
