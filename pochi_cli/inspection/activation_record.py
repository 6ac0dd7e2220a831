"""What the layers of a network put out over many inputs. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["convolution", "linear", "norm", "attention", "recurrent", "activation", "other"]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_SHOWN_BINS = 64
_SHOWN_SHARE = 0.001
"""Share of the values on either side that may lie outside the shown range."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """How values are distributed, with bins of about the same width relative to the values.

    Attributes:
        edges: float64 (B + 1,), rising strictly.
        counts: int64 (B,), how many values lie in each bin; those that are 0 are left out.
        zeros: How many values are 0.
    """

    edges: Floats
    counts: Counts
    zeros: int

    @property
    def count(self) -> int:
        """Number of values that are not 0."""
        return int(self.counts.sum())

    def quantiles(self, shares: Sequence[float]) -> Floats:
        """Compute below which value each share of the values that are not 0 lies, to within a bin.

        Args:
            shares: From 0 to 1. There must be such values.
        """
        return np.interp(shares, self._cumulative / self.count, self.edges)

    def between(self, edges: Floats) -> Floats:
        """Count the values that are not 0 in other bins; those of a bin are taken to lie evenly in it.

        Args:
            edges: (K + 1,), rising.

        Returns:
            (K,)
        """
        return np.diff(np.interp(edges, self.edges, self._cumulative))

    def shown_edges(self, bins: int = _SHOWN_BINS) -> Floats:
        """Choose bins of equal widths that hold nearly all values: outliers must not make them few.

        They reach from the 0.1 % quantile to that of 99.9 %, and to 0 where some are 0.

        Args:
            bins: How many.
        """
        ends = [0.0] if self.zeros or not self.count else []
        if self.count:
            ends += self.quantiles([_SHOWN_SHARE, 1 - _SHOWN_SHARE]).tolist()
        low, high = min(ends), max(ends)
        if not high > low:
            low, high = low - (abs(low) or 1), high + (abs(high) or 1)
        return np.linspace(low, high, bins + 1)

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON: few bins of equal widths, and how many values lie outside them."""
        edges = self.shown_edges()
        inside = np.rint(self.between(edges)).astype(np.int64)
        below, above = (
            self.between(np.array([-np.inf, edges[0]])),
            self.between(np.array([edges[-1], np.inf])),
        )
        return {
            "low": float(edges[0]),
            "high": float(edges[-1]),
            "counts": inside.tolist(),
            "below": round(float(below[0])),
            "above": round(float(above[0])),
            "zeros": self.zeros,
        }

    @property
    def _cumulative(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.counts, dtype=np.float64)])


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
            `None` where nothing varies.
        rank_limit: What it is at most.
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
