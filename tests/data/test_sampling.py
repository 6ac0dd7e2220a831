from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pochi_cli.data.sampling import EpochBatchSampler, Order, SampleKey, derive_seed


def batches(sampler: EpochBatchSampler, epoch: int = 0, start: int = 0) -> list[list[SampleKey]]:
    sampler.set_epoch(epoch, start)
    return list(sampler)


def indices(sampler: EpochBatchSampler, epoch: int = 0) -> list[int]:
    return [key.index for batch in batches(sampler, epoch) for key in batch]


@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 20),
    order=st.sampled_from(["sequential", "shuffle", "balanced"]),
    epoch=st.integers(0, 5),
    start=st.integers(0, 10),
)
def test_batches(count: int, batch_size: int, order: Order, epoch: int, start: int) -> None:
    sampler = EpochBatchSampler([i % 3 for i in range(count)], batch_size, 3, order)
    whole = batches(sampler, epoch)
    assert len(sampler) == len(whole)
    assert sum(map(len, whole)) == count
    assert all(key.epoch == epoch for batch in whole for key in batch)
    assert all(len(batch) == batch_size for batch in whole[:-1])
    if order != "sequential" and batch_size > 1 and count > 1:
        assert len(whole[-1]) > 1
    assert len(whole[-1]) <= batch_size + 1
    assert batches(sampler, epoch, start) == whole[start:]
    assert len(sampler) == len(whole)
    if order != "balanced":
        assert sorted(key.index for batch in whole for key in batch) == list(range(count))


@pytest.mark.parametrize(
    ("count", "batch_size", "order", "sizes"),
    [
        (9, 4, "shuffle", [4, 5]),
        (9, 4, "balanced", [4, 5]),
        (9, 4, "sequential", [4, 4, 1]),
        (10, 4, "shuffle", [4, 4, 2]),
        (1, 4, "shuffle", [1]),
        (3, 1, "shuffle", [1, 1, 1]),
        (3, 8, "shuffle", [3]),
    ],
)
def test_a_last_single_image_joins_the_batch_before(
    count: int, batch_size: int, order: Order, sizes: list[int]
) -> None:
    sampler = EpochBatchSampler([0] * count, batch_size, 0, order)
    assert [len(batch) for batch in sampler] == sizes
    assert len(sampler) == len(sizes)


def test_order_is_a_function_of_seed_and_epoch() -> None:
    labels = [0] * 50
    first = EpochBatchSampler(labels, 8, 1, "shuffle")
    torch.manual_seed(5)
    again = EpochBatchSampler(labels, 8, 1, "shuffle")
    assert indices(first, 3) == indices(again, 3) != indices(first, 4)
    assert indices(first, 3) != indices(EpochBatchSampler(labels, 8, 2, "shuffle"), 3)
    assert indices(EpochBatchSampler(labels, 8, 0, "sequential"), 9) == list(range(50))


@pytest.mark.parametrize("order", ["shuffle", "balanced"])
def test_the_default_generator_is_left_alone(order: Order) -> None:
    before = torch.get_rng_state()
    list(EpochBatchSampler([0, 1] * 10, 4, 0, order))
    assert torch.equal(torch.get_rng_state(), before)


def test_balanced_draws_every_class_equally() -> None:
    labels = [1] * 9000 + [0] * 900 + [3] * 100  # class 2 has no images
    drawn = torch.tensor(indices(EpochBatchSampler(labels, 32, 0, "balanced")))
    assert len(drawn) == 10_000
    counts = torch.bincount(torch.tensor(labels)[drawn], minlength=4).tolist()
    assert counts[2] == 0
    assert all(abs(counts[label] - 10_000 / 3) < 200 for label in (0, 1, 3))
    # Within the smallest class every image comes about 33 times.
    of_smallest = torch.bincount(drawn[drawn >= 9900] - 9900, minlength=100)
    assert of_smallest.min() > 10
    assert of_smallest.max() < 65


def test_draws_of_an_image_are_numbered() -> None:
    keys = [key for batch in EpochBatchSampler([0] * 20 + [1], 4, 0, "balanced") for key in batch]
    draws = [key.draw for key in keys if key.index == 20]
    assert len(draws) > 3
    assert draws == list(range(len(draws)))
    assert len(set(keys)) == len(keys)


def test_derived_seeds_differ() -> None:
    seeds = {derive_seed(0, epoch, index) for epoch in range(50) for index in range(50)}
    assert len(seeds) == 2500
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert derive_seed(1, 23) != derive_seed(12, 3)
