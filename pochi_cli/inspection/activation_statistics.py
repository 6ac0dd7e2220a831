"""The statistics of one layer's outputs, which stream by and are not kept."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pochi_cli.inspection.activation_calls import Call
from pochi_cli.inspection.activation_histogram import StreamingHistogram
from pochi_cli.inspection.activation_layers import Layer
from pochi_cli.inspection.activation_rank import EffectiveRank, sampled_rows
from pochi_cli.inspection.activation_record import LayerActivation, Saturation

SILENT_SHARE = 1e-4
"""Of the layer's largest magnitude: a unit of a smooth activation that never exceeds it is dead."""
_ROUNDING = 4 * torch.finfo(torch.float32).eps
"""Of a unit's magnitude, or the layer's root mean square if larger: what varies less is constant."""
_AT_BOUND = 0.01
"""Of the range of a bounded activation: what is nearer to a bound is saturated."""
_SAFE = (1e-12, 1e12)
"""Magnitudes whose squares float32 can sum."""


class LayerStatistics:
    """Accumulates what is told of a layer.

    Args:
        call: Which output it is.
        layer: What is known of it.
        output: The first one, for its shape.
        axis: Along which its units lie.
    """

    def __init__(self, call: Call, layer: Layer, output: Tensor, axis: int) -> None:
        self._call = call
        self._layer = layer
        self._shape = tuple(output.shape)
        self._axis = axis
        self._units: int | None = output.shape[axis]
        self._finite = self._non_finite = 0
        self._mean = self._squares = 0.0
        self._low = self._high = torch.empty(0)
        self._least, self._largest = math.inf, -math.inf
        self._at_low = self._at_high = 0
        self._histogram = StreamingHistogram()
        self._rank = EffectiveRank(output.shape[axis], output.device)

    def add(self, output: Tensor, axis: int) -> None:
        """Take an output into account; the device is waited for.

        Args:
            output: Floating, of any shape, not empty.
            axis: Along which its units lie.
        """
        # Half precision would sum badly, and not every device has float64.
        exact = output if output.dtype in (torch.float32, torch.float64) else output.float()
        low, high = _extremes(exact, exact, axis)
        values, rows = exact, sampled_rows(exact, axis).float()
        if not bool((low.isfinite() & high.isfinite()).all()):
            is_finite = exact.isfinite()
            low, high = _extremes(exact.where(is_finite, math.inf), exact.where(is_finite, -math.inf), axis)
            values, rows = exact[is_finite], rows[rows.isfinite().all(1)]
            self._non_finite += exact.numel() - values.numel()
        if values.numel():
            self._least = min(self._least, float(low.min()))
            self._largest = max(self._largest, float(high.max()))
            self._add_values(values)
        self._add_units(low, high, rows)

    def _add_units(self, low: Tensor, high: Tensor, rows: Tensor) -> None:
        if self._units != len(low):
            self._units = None  # it differs from batch to batch
            return
        is_first = not len(self._low)
        self._low = low if is_first else torch.minimum(self._low, low)
        self._high = high if is_first else torch.maximum(self._high, high)
        self._rank.add(rows)

    def _add_values(self, values: Tensor) -> None:
        count, before = values.numel(), self._finite
        self._finite += count
        mean, squares = _moments(values, max(abs(self._least), abs(self._largest)))
        difference = mean - self._mean
        # Two samples' moments make those of both: Chan, Golub and LeVeque (1979), eq. 2.1.
        self._mean += difference * count / self._finite
        self._squares += squares + difference * difference * before * count / self._finite
        self._histogram.add(values, self._least, self._largest)
        if self._layer.bounds is not None:
            low, high = self._layer.bounds
            margin = _AT_BOUND * (high - low)
            self._at_low += int((values <= low + margin).sum())
            self._at_high += int((values >= high - margin).sum())

    def result(self) -> LayerActivation:
        """Give the statistics."""
        histogram = self._histogram.result()
        has_values = self._finite > 0
        largest = max(abs(self._least), abs(self._largest)) if has_values else 0.0
        dead_limit = SILENT_SHARE * largest if self._layer.is_smooth else 0.0
        dead, constant = self._silent(dead_limit)
        return LayerActivation(
            name=self._call.name,
            function=self._call.function,
            call=self._call.number,
            kind=self._layer.kind,
            type=self._layer.type,
            shape=self._shape[1:] if len(self._shape) > 1 else self._shape,
            units=self._units,
            values=self._finite + self._non_finite,
            non_finite=self._non_finite,
            mean=self._mean if has_values else math.nan,
            std=math.sqrt(self._squares / self._finite) if has_values else math.nan,
            min=self._least if has_values else math.nan,
            max=self._largest if has_values else math.nan,
            zero_fraction=histogram.zeros / self._finite if has_values else math.nan,
            dead=dead,
            dead_limit=dead_limit,
            constant=constant,
            saturation=self._saturation() if has_values else None,
            effective_rank=None if self._units is None else self._rank.result(),
            rank_limit=0 if self._units is None else self._rank.limit,
            rank_positions=0 if self._units is None else self._rank.rows,
            histogram=histogram,
        )

    def _silent(self, dead_limit: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Find the units that are dead, and those that are constant."""
        if self._units is None:
            return (), ()
        low, high = self._low.cpu().double(), self._high.cpu().double()
        has_values = low <= high
        is_dead = has_values & (torch.maximum(low.abs(), high.abs()) <= dead_limit)
        is_repeated = (self._finite + self._non_finite) // self._units > 1
        # Batches of different sizes may be summed in different orders.
        usual = math.hypot(self._mean, math.sqrt(self._squares / max(self._finite, 1)))
        is_same = high - low <= _ROUNDING * torch.maximum(low.abs(), high.abs()).clamp(min=usual)
        is_constant = has_values & is_same & ~is_dead if is_repeated else torch.zeros_like(is_dead)
        return _positions(is_dead), _positions(is_constant)

    def _saturation(self) -> Saturation | None:
        if self._layer.bounds is None:
            return None
        low, high = self._layer.bounds
        shares = self._at_low / self._finite, self._at_high / self._finite
        return Saturation(low, high, *shares, self._layer.is_rectifier)


def _extremes(for_low: Tensor, for_high: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Compute the least and the largest value of each unit, (units,)."""
    others = [at for at in range(for_low.ndim) if at != axis]
    if not others:  # without dimensions `amin` would reduce all
        return for_low.clone(), for_high.clone()
    return for_low.amin(others), for_high.amax(others)


def _moments(values: Tensor, magnitude: float) -> tuple[float, float]:
    """Compute the mean, and the sum of the squared deviations from it."""
    least, most = _SAFE
    if magnitude and not least < magnitude < most:
        values = values.cpu().double()  # the squares would leave float32
    mean = float(values.mean())
    return mean, float((values - mean).square_().sum())


def _positions(is_one: Tensor) -> tuple[int, ...]:
    return tuple(is_one.nonzero().flatten().tolist())
