"""The values of a network's parameters, and their verdicts. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.findings import Finding, Gravity, network_finding

NON_FINITE = "non-finite-weights"
ZERO_LAYER = "zero-layer"
NEAR_ZERO_CHANNELS = "near-zero-channels"

TINY = 1e-6
"""Entries of a lesser magnitude count for the sparsity."""
NEAR_ZERO = 1e-3
"""A channel is near zero where its norm is less than this share of the median norm of its layer's."""
MANY_CHANNELS = 0.25
"""From this share of a layer's channels on, near-zero ones are a warning."""
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)

_MOST_CHANNELS = 8


@dataclass(frozen=True)
class ParameterStatistics:
    """The values of one parameter.

    Its mean, std, least, largest, norm and quantiles are those of all its entries: NaN, all of them, where
    one entry is not finite.

    Attributes:
        name: Dotted.
        block: The block it belongs to.
        shape: Its shape.
        is_trained: Whether it has a gradient.
        non_finite: How many entries are NaN or infinite.
        mean, std: Over the entries; the standard deviation is that of the population.
        min, max: The least and the largest entry, with their signs.
        norm: L2 norm.
        sparsity: Share of entries of a magnitude below 1e-6.
        quantiles: At 1, 25, 50, 75 and 99 %, to within 1 % of their size.
        channels: Output channels; 0 where it has none: with fewer than two dimensions, or as an embedding.
        near_zero: Channels, from 0, whose norm is below 1e-3 of the median norm of the layer's channels that
            are not exactly 0; those that are exactly 0 are among them.
    """

    name: str
    block: str
    shape: tuple[int, ...]
    is_trained: bool
    non_finite: int
    mean: float
    std: float
    min: float
    max: float
    norm: float
    sparsity: float
    quantiles: tuple[float, ...]
    channels: int
    near_zero: tuple[int, ...]

    @property
    def entries(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def is_zero(self) -> bool:
        """Whether every entry is exactly 0."""
        return self.min == self.max == 0

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "entries": self.entries}


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often values lie between edges.

    Attributes:
        edges: Rising, float64 (bins + 1,).
        counts: Values of each bin, int64 (bins,), in all as many as there are: a group of near values that an
            edge cuts through is divided in proportion.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]

    def to_record(self) -> dict[str, list[float] | list[int]]:
        """Plain values for JSON."""
        return {"edges": self.edges.tolist(), "counts": self.counts.tolist()}


@dataclass(frozen=True)
class WeightStatistics:
    """The values of all parameters of a network.

    Attributes:
        parameters: In registration order, shared ones once.
        histogram: Of all finite entries together; `None` where there is none.
    """

    parameters: tuple[ParameterStatistics, ...]
    histogram: Histogram | None = field(compare=False)

    @property
    def entries(self) -> int:
        """How many numbers there are."""
        return sum(one.entries for one in self.parameters)

    @property
    def non_finite(self) -> int:
        """How many of them are NaN or infinite."""
        return sum(one.non_finite for one in self.parameters)

    @property
    def sparsity(self) -> float:
        """Share of entries of a magnitude below 1e-6."""
        return sum(one.sparsity * one.entries for one in self.parameters) / max(self.entries, 1)

    @property
    def mean(self) -> float:
        """Mean of all entries."""
        return sum(one.mean * one.entries for one in self.parameters) / max(self.entries, 1)

    @property
    def std(self) -> float:
        """Standard deviation of all entries, that of the population."""
        squares = sum(one.norm**2 for one in self.parameters) / max(self.entries, 1)
        return math.sqrt(max(0.0, squares - self.mean**2))

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "mean": self.mean,
            "std": self.std,
            "min": min((one.min for one in self.parameters), default=math.nan),
            "max": max((one.max for one in self.parameters), default=math.nan),
            "sparsity": self.sparsity,
            "non_finite": self.non_finite,
            "histogram": None if self.histogram is None else self.histogram.to_record(),
            "parameters": [one.to_record() for one in self.parameters],
        }


def judge_weights(weights: WeightStatistics, *, is_trained: bool = True) -> list[Finding]:
    """Judge the parameters of a network.

    Args:
        weights: Their statistics.
        is_trained: Whether they have been trained. Some networks start with a layer that is 0, such as the
            head of torchvision's Vision Transformer, so of new ones only what is not finite is told.

    Returns:
        The faults: entries that are not finite, weights (of two or more dimensions) that are 0 throughout,
        and near-zero channels.
    """
    findings = list(_non_finite(weights.parameters))
    if is_trained:
        findings += [*_zero_layers(weights.parameters), *_near_zero(weights.parameters)]
    return findings


def _non_finite(parameters: Sequence[ParameterStatistics]) -> Iterator[Finding]:
    bad = [one for one in parameters if one.non_finite]
    if not bad:
        return
    worst = max(bad, key=lambda one: one.non_finite / one.entries)
    yield network_finding(
        NON_FINITE,
        "error",
        worst.name,
        f"{_count(len(bad), 'parameter')} of the network with values that are not finite: {worst.name} first",
        f"{worst.non_finite:,} of the {worst.entries:,} entries of {worst.name} "
        f"{'is' if worst.non_finite == 1 else 'are'} NaN or infinite",
        "go back to an earlier checkpoint; train anew with a lower learning_rate, warmup_epochs or "
        "clip_grad_norm",
        value=worst.non_finite,
        threshold=0.0,
        also=[one.name for one in bad if one is not worst],
    )


def _zero_layers(parameters: Sequence[ParameterStatistics]) -> Iterator[Finding]:
    zero = [one for one in parameters if one.channels and one.is_zero]
    if zero:
        yield network_finding(
            ZERO_LAYER,
            "warning",
            zero[0].name,
            f"every entry of {zero[0].name} is 0: nothing of its input comes through",
            f"{_count(len(zero), 'weight')} of two or more dimensions with {zero[0].entries:,} entries that "
            "are all exactly 0",
            "look whether it is frozen or never reached by a gradient: pochi inspect gradients",
            value=0.0,
            threshold=0.0,
            also=[one.name for one in zero[1:]],
        )


def _near_zero(parameters: Sequence[ParameterStatistics]) -> Iterator[Finding]:
    found = [one for one in parameters if one.near_zero and not one.is_zero]
    groups: tuple[tuple[Gravity, list[ParameterStatistics]], ...] = (
        ("warning", [one for one in found if _share(one) >= MANY_CHANNELS]),
        ("note", [one for one in found if _share(one) < MANY_CHANNELS]),
    )
    for severity, members in groups:
        if not members:
            continue
        worst = max(members, key=_share)
        yield network_finding(
            NEAR_ZERO_CHANNELS,
            severity,
            worst.name,
            f"{len(worst.near_zero):,} of the {worst.channels:,} output channels of {worst.name} are "
            "near zero",
            f"their norms are below {NEAR_ZERO:g} of the median of its channels: {_listed(worst.near_zero)}",
            "the network could be narrower there; with a high weight_decay or learning_rate try a lower one",
            value=_share(worst),
            threshold=MANY_CHANNELS,
            also=[
                f"{one.name} ({len(one.near_zero):,} of {one.channels:,})"
                for one in members
                if one is not worst
            ],
        )


def _share(one: ParameterStatistics) -> float:
    return len(one.near_zero) / one.channels


def _listed(channels: Iterable[int]) -> str:
    numbers = list(channels)
    rest = len(numbers) - _MOST_CHANNELS
    return ", ".join(map(str, numbers[:_MOST_CHANNELS])) + (f" and {rest:,} more" if rest > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
