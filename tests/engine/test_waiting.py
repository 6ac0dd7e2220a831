"""How long a training waits for data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pochi_cli.engine import waiting
from pochi_cli.engine.waiting import Waiting


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def slow_loader(clock: Clock, seconds: float, batches: int) -> Iterator[int]:
    for number in range(batches):
        clock.now += seconds
        yield number


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_all_that_passes_until_a_batch_is_there_is_waiting(clock: Clock, device: str) -> None:
    waits = Waiting(torch.device(device))
    for _ in waits.timed(slow_loader(clock, 2.0, 3)):
        clock.now += 7.0
    assert waits.seconds == pytest.approx(6.0)


class Stream:
    """Work of a device that is given faster than it is done."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.done_at = clock.now

    def give(self, seconds: float) -> None:
        self.done_at = max(self.done_at, self.clock.now) + seconds


class Event:
    """A mark in that work."""

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: Stream) -> None:
        self.stream = stream
        self.at = max(stream.done_at, stream.clock.now)

    def synchronize(self) -> None:
        self.stream.clock.now = max(self.stream.clock.now, self.at)

    def query(self) -> bool:
        return self.at <= self.stream.clock.now

    def elapsed_time(self, later: Event) -> float:
        assert later.query(), "torch refuses what is not reached yet"
        return 1e3 * (later.at - self.at)


@pytest.mark.parametrize(
    ("loading_s", "step_s", "waited_s"),
    [
        (5.0, 4.0, 2.0 + 3 * 1.0),  # the work from before takes 3 of the first 5 seconds
        (5.0, 9.0, 2.0),
        (5.0, 0.5, 2.0 + 3 * 4.5),
    ],
)
def test_a_gpu_waits_only_once_it_is_done(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, loading_s: float, step_s: float, waited_s: float
) -> None:
    stream = Stream(clock)
    stream.give(3.0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    waits = Waiting(torch.device("cuda"))
    began = clock.now
    for _ in waits.timed(slow_loader(clock, loading_s, 4)):
        stream.give(step_s)
    assert clock.now - began == 4 * loading_s  # nothing has waited for the device
    assert waits.seconds == pytest.approx(waited_s)
    assert waits.seconds == pytest.approx(waited_s)
