"""Histograms of values that stream by, against those of the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pochi_cli.inspection.activation_histogram import StreamingHistogram
from pochi_cli.inspection.activation_record import Histogram


def histogram_of(*parts: torch.Tensor) -> Histogram:
    streaming = StreamingHistogram()
    for part in parts:
        streaming.add(part)
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


def test_quantiles_are_within_a_bin() -> None:
    torch.manual_seed(0)
    values = torch.randn(20_000) * 3 + 1
    shares = [0.01, 0.25, 0.5, 0.75, 0.99]
    found = histogram_of(values).quantiles(shares)
    assert found == pytest.approx(np.quantile(values.numpy(), shares), rel=0.02, abs=0.02)


def test_other_bins_hold_as_many_values() -> None:
    torch.manual_seed(0)
    values = torch.randn(50_000)
    edges = np.linspace(-4, 4, 41)
    expected = np.histogram(values.numpy(), edges)[0]
    found = histogram_of(values).between(edges)
    assert found == pytest.approx(expected, rel=0.1, abs=30)
    assert found.sum() == pytest.approx(expected.sum(), abs=3)


def test_an_outlier_does_not_squeeze_what_is_shown() -> None:
    torch.manual_seed(0)
    values = torch.randn(10_000)
    values[0] = 1e30
    histogram = histogram_of(values)
    edges = histogram.shown_edges(40)
    assert -4.5 < edges[0] < -2.5 and 2.5 < edges[-1] < 4.5
    assert (histogram.between(edges) > 0).all()
    record = histogram.to_record()
    assert sum(record["counts"]) + record["below"] + record["above"] == pytest.approx(10_000, abs=40)
    assert record["above"] >= 1


def test_what_is_shown_reaches_0_where_values_are() -> None:
    assert histogram_of(torch.tensor([0.0, 5.0, 6.0])).shown_edges()[0] == 0
    assert histogram_of(torch.linspace(5.0, 6.0, 50)).shown_edges()[0] == pytest.approx(5, abs=0.05)


@pytest.mark.parametrize(
    "values", [torch.zeros(3), torch.full((3,), 2.5), torch.zeros(0), torch.tensor([-3.4e38, 3.4e38])]
)
def test_there_are_always_bins(values: torch.Tensor) -> None:
    histogram = histogram_of(values)
    edges = histogram.shown_edges()
    assert (np.diff(edges) > 0).all()
    assert np.isfinite(edges).all()
    assert histogram.zeros + histogram.count == len(values)
    assert set(histogram.to_record()) == {"low", "high", "counts", "below", "above", "zeros"}


def test_values_beyond_float32_count_as_its_largest() -> None:
    histogram = histogram_of(torch.tensor([1e300, -1e300, 1.0], dtype=torch.float64))
    assert histogram.count == 3
    assert histogram.edges[-1] == pytest.approx(np.finfo(np.float32).max)
