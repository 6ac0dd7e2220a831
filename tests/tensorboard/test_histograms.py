"""How values are spread."""

from __future__ import annotations

import torch

from pochi_cli.tensorboard.histograms import histogram_of


def test_values_are_counted_in_equal_buckets() -> None:
    found = histogram_of(torch.arange(128.0).view(2, 64))
    assert (found.low, found.high) == (0, 127)
    assert sum(found.counts) == 128
    assert len(found.counts) == 64
    assert set(found.counts) == {2}
    assert found.total == 127 * 128 / 2


def test_values_that_are_all_the_same_are_one_bucket() -> None:
    found = histogram_of(torch.full((3, 5), 2.0))
    assert (found.low, found.high, found.counts, found.total) == (2.0, 2.0, (15,), 30.0)


def test_values_whose_range_overflows_are_counted_all_the_same() -> None:
    found = histogram_of(torch.tensor([-3e38, 0.0, 3e38]))
    assert sum(found.counts) == 3
