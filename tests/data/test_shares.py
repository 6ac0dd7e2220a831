from __future__ import annotations

import pytest
import torch

from pochi_cli.data.sampling import EpochBatchSampler, Order
from pochi_cli.data.shares import least_portion, portion_of


@pytest.mark.parametrize("total", range(1, 40))
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("least", [1, 2])
def test_portions_are_the_batch(total: int, size: int, least: int) -> None:
    portions = [portion_of(total, rank, size, least) for rank in range(size)]
    if total < size * least:
        assert all(portion.is_whole for portion in portions)
        return
    assert [at for portion in portions for at in range(portion.start, portion.stop)] == list(range(total))
    sizes = [portion.stop - portion.start for portion in portions]
    assert least <= min(sizes) <= max(sizes) <= min(sizes) + 1
    assert size == 1 or not any(portion.is_whole for portion in portions)


@pytest.mark.parametrize(
    ("batch_size", "size", "least"), [(32, 2, 2), (4, 2, 2), (3, 2, 1), (2, 2, 1), (1, 2, 1)]
)
def test_a_process_needs_two_images_unless_a_batch_has_fewer(batch_size: int, size: int, least: int) -> None:
    assert least_portion(batch_size, size) == least


@pytest.mark.parametrize("order", ["shuffle", "balanced"])
@pytest.mark.parametrize("start", [0, 3])
def test_processes_share_every_batch_they_train_on(order: Order, start: int) -> None:
    """47 images in batches of 8: the last has 7."""
    labels = [at % 3 for at in range(47)]
    alone = EpochBatchSampler(labels, 8, 5, order)
    alone.set_epoch(2, start)
    shares = []
    for rank in range(3):
        sampler = EpochBatchSampler(labels, 8, 5, order, rank, 3)
        sampler.set_epoch(2, start)
        assert len(sampler) == len(alone)
        assert list(sampler.numbers()) == list(range(start, 6))
        shares.append(list(sampler))
    assert [[key for part in parts for key in part] for parts in zip(*shares, strict=True)] == list(alone)


def test_processes_evaluate_whole_batches_in_turn() -> None:
    alone = list(EpochBatchSampler([0] * 21, 4, 0, "sequential"))
    found: dict[int, object] = {}
    for rank in range(4):
        sampler = EpochBatchSampler([0] * 21, 4, 0, "sequential", rank, 4)
        found.update(zip(sampler.numbers(), sampler, strict=True))
        if rank == 1:
            sampler.pass_over(1)
            assert list(sampler.numbers()) == [5]
    assert [found[number] for number in range(6)] == alone


def test_a_batch_too_small_to_share_is_everybodys() -> None:
    samplers = [EpochBatchSampler([0] * 11, 8, 0, "shuffle", rank, 4) for rank in range(4)]
    last = [list(sampler)[-1] for sampler in samplers]
    assert all(batch == last[0] for batch in last)
    assert len(last[0]) == 3
    assert torch.tensor([len(next(iter(sampler))) for sampler in samplers]).sum() == 8
