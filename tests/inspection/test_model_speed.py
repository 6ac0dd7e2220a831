"""Speed of forward passes: what is run, how often, and what is told. Never how long it takes."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from pochi_cli.inspection.model_costs import summarise
from pochi_cli.inspection.model_speed import measure_speed
from tests.inspection.test_gradients import Small, assert_untouched, fingerprint


class Slow(nn.Module):
    """Takes 1 ms for each sample, and notes how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, batch: Tensor) -> Tensor:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(batch))
        time.sleep(0.001 * len(batch))
        return batch


def test_each_batch_size_is_warmed_up_and_measured() -> None:
    model, done = Slow(), []
    sweep = measure_speed(
        model, torch.ones(1, 2), batch_sizes=(1, 4), budget_s=0.4, on_batch_size=lambda: done.append(1)
    )
    assert [speed.batch_size for speed in sweep.speeds] == [1, 4]
    for speed in sweep.speeds:
        assert 3 <= speed.runs <= model.batches.count(speed.batch_size) - 1
        assert speed.batch_size <= speed.median_ms <= speed.p95_ms
        assert speed.samples_per_s == pytest.approx(1000 * speed.batch_size / speed.median_ms)
    assert (sweep.left_out, sweep.device, len(done)) == ((), "cpu", 2)
    assert sweep.threads == torch.get_num_threads()


def test_what_the_budget_does_not_allow_is_left_out() -> None:
    model, done = Slow(), []
    sweep = measure_speed(
        model, torch.ones(1, 2), batch_sizes=(1, 2, 4096), budget_s=0.3, on_batch_size=lambda: done.append(1)
    )
    assert sweep.left_out == (4096,)
    assert 4096 not in model.batches
    assert len(done) == 3


def test_what_memory_does_not_allow_is_left_out_and_other_errors_are_not() -> None:
    class Failing(nn.Module):
        def __init__(self, message: str) -> None:
            super().__init__()
            self.message = message

        def forward(self, batch: Tensor) -> Tensor:
            if len(batch) > 1:
                raise RuntimeError(self.message)
            return batch

    sweep = measure_speed(Failing("CUDA out of memory"), torch.ones(1), batch_sizes=(1, 2, 4), budget_s=0.1)
    assert sweep.left_out == (2, 4)
    with pytest.raises(RuntimeError, match="another"):
        measure_speed(Failing("another"), torch.ones(1), batch_sizes=(1, 2), budget_s=0.1)


def test_median_and_95th_percentile() -> None:
    speed = summarise(2, [number / 1000 for number in range(100, 0, -1)])
    assert speed.runs == 100
    assert speed.median_ms == pytest.approx(50.5)
    assert speed.p95_ms == pytest.approx(95)
    assert speed.samples_per_s == pytest.approx(2000 / 50.5)
    assert summarise(1, [0.003]).p95_ms == pytest.approx(3)


def test_the_model_is_as_it_was() -> None:
    model = Small()
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    model.norm.eval()
    images = torch.rand(1, 1, 7, 7)
    before, state = fingerprint(model), torch.get_rng_state()
    measure_speed(model, images, batch_sizes=(1, 2), budget_s=0.05)
    assert_untouched(before, fingerprint(model))
    assert torch.equal(state, torch.get_rng_state())
