"""What a network costs: memory of a training step, time of a forward pass. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

MOST_SAMPLES = 1 << 20
"""Beyond, a larger batch that would fit is not looked for."""


class Growth(NamedTuple):
    """Bytes that grow with a batch.

    Attributes:
        fixed: However many samples there are.
        per_sample: For each sample.
    """

    fixed: float
    per_sample: float

    def of(self, batch_size: int) -> float:
        """Compute the bytes for a batch."""
        return self.fixed + batch_size * self.per_sample


class Measured(NamedTuple):
    """Bytes that were measured at several batch sizes, and that may grow with the pairs of a batch's samples.

    Attributes:
        sizes: Batch sizes, rising, at least two.
        values: Bytes at each.
    """

    sizes: tuple[int, ...]
    values: tuple[float, ...]

    def of(self, batch_size: int) -> float:
        """Compute the bytes for a batch: between measured ones by a line, beyond by the square."""
        last = self.sizes[-1]
        if batch_size > last:
            return self.values[0] + (self.values[-1] - self.values[0]) * (batch_size / last) ** 2
        return float(np.interp(batch_size, self.sizes, self.values))


@dataclass(frozen=True)
class BatchMemory:
    """Memory of a training step, in bytes.

    Attributes:
        batch_size: Samples in a batch.
        parameters, buffers, gradients, optimizer_state: Of the network; the same for every batch.
        averaged_weights: The copy of the network that holds the average of its weights; 0 without.
        inputs: All batches of the step, which are there from its beginning.
        activations: What the forward pass saves for the backward pass.
        peak: The most that lives at once. Less than the sum where activations are freed before the last
            gradients are there; more where the backward pass needs much beside them.
    """

    batch_size: int
    parameters: int
    buffers: int
    gradients: int
    optimizer_state: int
    averaged_weights: int
    inputs: int
    activations: int
    peak: int


@dataclass(frozen=True)
class TrainingMemory:
    """Memory of a training step of any batch size, from some that were measured.

    Attributes:
        parameters, buffers, gradients, optimizer_state: Bytes that do not depend on the batch.
        input_per_sample: Bytes of a sample.
        activations: What the forward pass saves, each storage once, without parameters and inputs; of a loss
            that compares pairs what it saves, too.
        moments: What a step makes beside parameters, buffers, optimizer state and inputs, at those of its
            moments that may have the most of it.
        measured: The batch sizes that were measured, rising.
        averaged_weights: Bytes of the copy of the network that holds the average of its weights; 0 without.
        batches: Batches of an optimizer step.
    """

    parameters: int
    buffers: int
    gradients: int
    optimizer_state: int
    input_per_sample: int
    activations: Growth | Measured
    moments: tuple[Growth | Measured, ...]
    measured: tuple[int, ...]
    averaged_weights: int = 0
    batches: int = 1

    def of(self, batch_size: int) -> BatchMemory:
        """Tell the memory for a batch."""
        inputs = self.batches * batch_size * self.input_per_sample
        held = self.parameters + self.buffers + self.optimizer_state + self.averaged_weights + inputs
        return BatchMemory(
            batch_size=batch_size,
            parameters=self.parameters,
            buffers=self.buffers,
            gradients=self.gradients,
            optimizer_state=self.optimizer_state,
            averaged_weights=self.averaged_weights,
            inputs=inputs,
            activations=round(max(0.0, self.activations.of(batch_size))),
            peak=held + round(max(moment.of(batch_size) for moment in self.moments)),
        )

    def largest_batch(self, fits: Callable[[BatchMemory], bool]) -> int:
        """Find the largest batch that fits, up to `MOST_SAMPLES`; 0 where none does.

        Args:
            fits: Tells whether the step of a batch does; none that is larger than one that does not.
        """
        low, high = 0, MOST_SAMPLES + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(self.of(middle)) else (low, middle)
        return low

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON, of what holds for any batch; of activations on a line what describes it."""
        line = self.activations if isinstance(self.activations, Growth) else None
        return {
            "input_per_sample": self.input_per_sample,
            "accumulate_steps": self.batches,
            "activations_fixed": None if line is None else line.fixed,
            "activations_per_sample": None if line is None else line.per_sample,
            "measured_batch_sizes": list(self.measured),
        }


def decisive(moments: Sequence[Growth]) -> tuple[Growth, ...]:
    """Keep those that no other exceeds for every batch, the steepest first."""
    kept: list[Growth] = []
    for moment in sorted(moments, key=lambda moment: (-moment.per_sample, -moment.fixed)):
        if not kept or moment.fixed > kept[-1].fixed:
            kept.append(moment)
    return tuple(kept)


@dataclass(frozen=True)
class Speed:
    """How long a forward pass of a batch takes.

    Attributes:
        batch_size: Samples in a batch.
        runs: How often it was measured.
        median_ms, p95_ms: Milliseconds; the 95th percentile is one of the runs.
    """

    batch_size: int
    runs: int
    median_ms: float
    p95_ms: float

    @property
    def samples_per_s(self) -> float:
        """Samples per second at the median."""
        return 1000 * self.batch_size / self.median_ms

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "samples_per_s": self.samples_per_s}


@dataclass(frozen=True)
class SpeedSweep:
    """How long forward passes take.

    Attributes:
        speeds: By batch size, rising.
        left_out: Batch sizes for which there was no time, or no memory.
        device: Where it was measured.
        threads: Of the computation, where that is the CPU.
        precision: Of the arithmetic.
    """

    speeds: tuple[Speed, ...]
    left_out: tuple[int, ...]
    device: str
    threads: int | None
    precision: str

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "device": self.device,
            "threads": self.threads,
            "precision": self.precision,
            "sweep": [speed.to_record() for speed in self.speeds],
            "left_out": list(self.left_out),
        }


def summarise(batch_size: int, durations_s: Sequence[float]) -> Speed:
    """Summarise the durations of the runs of a batch, at least one."""
    rising = sorted(durations_s)
    count = len(rising)
    middle = (rising[(count - 1) // 2] + rising[count // 2]) / 2
    return Speed(batch_size, count, 1000 * middle, 1000 * rising[math.ceil(0.95 * count) - 1])
