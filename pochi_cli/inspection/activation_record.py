"""What the layers of a network put out over many inputs. Free of torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Kind = Literal["convolution", "linear", "norm", "attention", "recurrent", "activation", "other"]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MOST_RANKED_UNITS = 512
"""Units between which the effective rank tells; of a layer with more, sums of them are looked at."""
MOST_RANKED_POSITIONS = 64
"""Positions of each sample that the effective rank is over."""
_SHOWN_BINS = 64
_SHOWN_SHARE = 0.001
"""Share of the values on either side that may lie outside the shown range."""


class ShownHistogram(NamedTuple):
    """Few bins of equal widths that hold nearly all values that are not 0.

    Attributes:
        edges: float64 (K + 1,), rising strictly.
        counts: int64 (K,), how many values lie in each: exact in all together, and to within a bin of the
            histogram that it is of in each.
        below, above: How many values are less than the first edge, and greater than the last; exact.
    """

    edges: Floats
    counts: Counts
    below: int
    above: int


@dataclass(frozen=True, eq=False)
class Histogram:
    """How values are distributed, with bins of about the same width relative to the values.

    A value on an edge is in the bin that is further from 0.

    Attributes:
        edges: float64 (B + 1,), rising strictly; with 0 among them if they are on both sides of it.
        counts: int64 (B,), how many values lie in each bin; those that are 0 are left out.
        zeros: How many values are 0.
        least, largest: Of all values, those that are 0 included; 0 where there is none.
    """

    edges: Floats
    counts: Counts
    zeros: int
    least: float
    largest: float

    @property
    def count(self) -> int:
        """Number of values that are not 0."""
        return int(self.counts.sum())

    def shown(self, bins: int = _SHOWN_BINS) -> ShownHistogram:
        """Count in bins of equal widths that hold nearly all values: outliers must not make them few.

        They reach to 0 where some values are 0. At most 0.1 % of the others lie below them, and as many
        above.

        Args:
            bins: How many.
        """
        if not self.count:
            return ShownHistogram(np.linspace(-1, 1, bins + 1), np.zeros(bins, dtype=np.int64), 0, 0)
        total = self._cumulative
        first = int(np.searchsorted(total, _SHOWN_SHARE * self.count, side="right")) - 1
        last = int(np.searchsorted(total, (1 - _SHOWN_SHARE) * self.count))
        if self.zeros:
            # Where all values are on one side of 0, it is beyond the first or last edge.
            at_zero = int(np.searchsorted(self.edges, 0.0))
            first, last = min(first, at_zero), max(last, min(at_zero, len(total) - 1))
        below, inside = int(total[first]), int(total[last])
        low = max(_least_of_bin(float(self.edges[first])), self.least)
        high = min(_largest_of_bin(float(self.edges[last])), self.largest)
        if self.zeros:
            low, high = min(low, 0.0), max(high, 0.0)
        if not high > low:
            low, high = low - (abs(low) or 1), high + (abs(high) or 1)
        edges = np.linspace(low, high, bins + 1)
        # Those of a bin are taken to lie evenly in it. Rounded before the difference: the sum is exact.
        passed = np.rint(np.interp(edges, self.edges, total))
        passed[0], passed[-1] = below, inside
        return ShownHistogram(edges, np.diff(passed).astype(np.int64), below, self.count - inside)

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON: few bins of equal widths, and how many values lie outside them."""
        edges, counts, below, above = self.shown()
        return {
            "low": float(edges[0]),
            "high": float(edges[-1]),
            "counts": counts.tolist(),
            "below": below,
            "above": above,
            "zeros": self.zeros,
        }

    @property
    def _cumulative(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.counts, dtype=np.float64)])


def _least_of_bin(edge: float) -> float:
    """Give the least float32 in the bin above an edge: below 0 the edge itself is in the bin beneath."""
    return float(np.nextafter(np.float32(edge), np.float32(0))) if edge < 0 else edge


def _largest_of_bin(edge: float) -> float:
    """Give the largest float32 in the bin below an edge: above 0 the edge itself is in the next bin."""
    if edge >= np.finfo(np.float32).max:
        return edge  # the end of the last bin of all, which is not beyond it
    return float(np.nextafter(np.float32(edge), np.float32(0))) if edge > 0 else edge


@dataclass(frozen=True)
class Saturation:
    """How many values of a bounded activation are at its bounds.

    Attributes:
        low, high: The bounds.
        at_low, at_high: Shares, from 0 to 1, within 1 % of the range of each.
        is_rectifier: Whether the lower bound is that of a rectifier, such as the 0 of ReLU6, at which values
            are meant to be.
    """

    low: float
    high: float
    at_low: float
    at_high: float
    is_rectifier: bool

    @property
    def share(self) -> float:
        """Share at the bounds at which nothing is learnt and nothing is meant to be."""
        return self.at_high if self.is_rectifier else self.at_low + self.at_high


@dataclass(frozen=True, eq=False)
class LayerActivation:
    """The outputs of a layer, or of a function such as `torch.relu`, over all batches.

    All statistics are those of the finite values; NaN where there is none.

    Attributes:
        name: Dotted name of the module, or of the one that called the function; empty for the network itself.
        function: The function, where it is none of a module's own.
        call: Which of its calls within a forward pass, from 1.
        kind: What the layer is; `other` for a module with parameters, or of a class from elsewhere, that is
            nothing else.
        type: Class of the module, or name of the function.
        shape: Of one sample's output.
        units: How many units (channels or features) it has; `None` where that differs between batches.
        values: Number of all values.
        non_finite: How many of them are not finite.
        mean, std: Over the values; the standard deviation is that of the population.
        min, max: The least and the largest.
        zero_fraction: Share that is 0 (or smaller than 1e-40, which float32 hardly tells from it).
        dead: Units, from 0, whose magnitude never exceeds `dead_limit`, for no input and at no position.
        dead_limit: 0: dead is what is exactly 0 throughout. Of a smooth activation such as GELU, which is
            never quite 0 over a stretch: 1e-4 of the layer's largest magnitude.
        constant: Units that have one and the same other value throughout, but for rounding, and at least two
            values.
        saturation: Of a bounded activation.
        effective_rank: Over how many directions the units' variance is spread (Roy and Vetterli, 2007);
            `None` where nothing varies. Of more than 512 units it is estimated from 512 sums of them.
        rank_limit: What it is at most: the number of units, or 512, or one less than that of positions.
        rank_positions: Over how many positions it is: up to 64 of each sample, evenly spaced from the first
            to the last.
        histogram: Of the finite values.
    """

    name: str
    function: str | None
    call: int
    kind: Kind
    type: str
    shape: tuple[int, ...]
    units: int | None
    values: int
    non_finite: int
    mean: float
    std: float
    min: float
    max: float
    zero_fraction: float
    dead: tuple[int, ...]
    dead_limit: float
    constant: tuple[int, ...]
    saturation: Saturation | None
    effective_rank: float | None
    rank_limit: int
    rank_positions: int
    histogram: Histogram

    @property
    def label(self) -> str:
        """What it is called: `block.relu`, its second call `block.relu#2`, a function `block.relu()`."""
        function = "" if self.function is None else f"{self.function}()"
        name = ".".join(part for part in (self.name, function) if part) or self.type
        return name if self.call == 1 else f"{name}#{self.call}"

    @property
    def values_per_unit(self) -> int:
        """How many values each unit has; 0 where the number of units differs."""
        return self.values // self.units if self.units else 0

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "layer": self.label,
            **{key: value for key, value in vars(self).items() if key not in ("saturation", "histogram")},
            "saturation": None if self.saturation is None else asdict(self.saturation),
            "histogram": self.histogram.to_record(),
        }


@dataclass(frozen=True, eq=False)
class ActivationSurvey:
    """The activations of a network.

    Attributes:
        layers: In the order in which they were first run.
        batches: How many batches they are of.
    """

    layers: tuple[LayerActivation, ...]
    batches: int
