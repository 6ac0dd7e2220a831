"""Histograms of values that stream by, against those of the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from pochi_cli.inspection.activation_histogram import StreamingHistogram
from pochi_cli.inspection.activation_record import Histogram, ShownHistogram


def histogram_of(*parts: torch.Tensor) -> Histogram:
    streaming = StreamingHistogram()
    for part in parts:
        least, largest = (part.min(), part.max()) if len(part) else (0, 0)
        streaming.add(part, float(least), float(largest))
    return streaming.result()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_each_bin_counts_the_values_in_it(scale: float) -> None:
    torch.manual_seed(0)
    values = torch.randn(5000) * scale
    values[:100] = 0
    histogram = histogram_of(*values.chunk(7))
    exact = values.double().numpy()
    # A value on an edge belongs to the bin further from 0.
    signs, sizes = np.sign(exact), np.abs(exact)
    for low, high, count in zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False):
        inner, outer = sorted((abs(low), abs(high)))
        sign = np.sign(low + high)
        assert count == ((signs == sign) & (sizes >= inner) & (sizes < outer)).sum()
    assert (histogram.zeros, histogram.count) == (100, 4900)
    assert (np.diff(histogram.edges) > 0).all()
    assert histogram.edges[0] <= exact.min() and exact.max() <= histogram.edges[-1]


def assert_counted(values: torch.Tensor, bins: int = 64) -> ShownHistogram:
    """Hold what is shown against the values themselves."""
    shown = histogram_of(*values.chunk(3)).shown(bins)
    exact = values.double().numpy()
    exact = exact[exact != 0]
    assert shown.below == (exact < shown.edges[0]).sum()
    assert shown.above == (exact > shown.edges[-1]).sum()
    assert shown.counts.sum() + shown.below + shown.above == len(exact)
    assert shown.counts.dtype == np.int64
    assert max(shown.below, shown.above) <= 0.001 * len(exact) or 0 in (shown.edges[0], shown.edges[-1])
    return shown


def planted(kind: str) -> torch.Tensor:
    """Values whose least, or whose zeros, are very many."""
    torch.manual_seed(0)
    values = torch.randn(50_000)
    return {
        "normal": values,
        "far": values * 3e-19 + 1e-18,
        "negative": -values.abs() - 0.3,
        "rectified": values.relu(),
        "negative rectified": -values.relu(),
        "few below 0": torch.where(torch.arange(len(values)) < 20, -values.abs(), values.relu()),
        "gelu": F.gelu(4 * values),
        "many at the least": values.clamp(min=-0.1234),
        "many at the bounds": values.clamp(-1, 1),
        "bfloat16": values.bfloat16().float(),
        "bfloat16 bounds": values.clamp(-1.3, 1.7).bfloat16().float(),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["normal", "far", "negative", "rectified", "negative rectified", "few below 0", "gelu",
     "many at the least", "many at the bounds", "bfloat16", "bfloat16 bounds"],
)  # fmt: skip
def test_what_is_shown_counts_every_value(kind: str) -> None:
    values = planted(kind)
    shown = assert_counted(values)
    exact = values.double().numpy()
    expected = np.histogram(exact[exact != 0], shown.edges)[0].cumsum()
    # A bin of the streaming histogram, 1/128 of its values wide, may lie across an edge.
    assert shown.counts.cumsum() == pytest.approx(expected, abs=0.01 * len(exact))


def test_many_values_at_the_least_are_not_below_it() -> None:
    values = torch.cat([torch.full((4687,), -0.16998), torch.linspace(-0.1, 3, 60_000)])
    shown = assert_counted(values)
    assert shown.edges[0] == float(values.min())
    assert (shown.below, shown.counts[0]) == (0, 4687)


def test_an_outlier_does_not_squeeze_what_is_shown() -> None:
    torch.manual_seed(0)
    values = torch.randn(10_000)
    values[0] = 1e30
    shown = assert_counted(values, 40)
    assert -4.5 < shown.edges[0] < -2.5 and 2.5 < shown.edges[-1] < 4.5
    assert (shown.counts > 0).all()
    assert shown.above >= 1


def test_what_is_shown_reaches_0_where_values_are() -> None:
    assert histogram_of(torch.tensor([0.0, 5.0, 6.0])).shown().edges[0] == 0
    assert histogram_of(torch.linspace(5.0, 6.0, 50)).shown().edges[0] == 5


@pytest.mark.parametrize(
    "values", [torch.zeros(3), torch.full((3,), 2.5), torch.zeros(0), torch.tensor([-3.4e38, 3.4e38])]
)
def test_there_are_always_bins(values: torch.Tensor) -> None:
    histogram = histogram_of(values)
    edges, counts, below, above = histogram.shown()
    assert (np.diff(edges) > 0).all()
    assert np.isfinite(edges).all()
    assert (counts >= 0).all()
    assert histogram.zeros + counts.sum() + below + above == len(values)
    assert set(histogram.to_record()) == {"low", "high", "counts", "below", "above", "zeros"}


def test_values_beyond_float32_count_as_its_largest() -> None:
    histogram = histogram_of(torch.tensor([1e300, -1e300, 1.0], dtype=torch.float64))
    assert histogram.count == 3
    assert histogram.edges[-1] == pytest.approx(np.finfo(np.float32).max)
