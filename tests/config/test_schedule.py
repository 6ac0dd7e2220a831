"""The closed form of the learning rate, held against torch's own schedulers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.schedule import learning_rate
from tests.config.raw import valid

EPOCHS = 100
BASES = [1.0, 0.1, 3e-4, 1e-7]

SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 1}),
    ("StepLR", {"step_size": 30, "gamma": 0.1}),
    ("StepLR", {"step_size": 7, "gamma": 0.93}),
    ("StepLR", {"step_size": 5, "gamma": 1.0}),
    ("StepLR", {"step_size": 1000}),
    ("MultiStepLR", {"milestones": [1]}),
    ("MultiStepLR", {"milestones": [30, 60, 90], "gamma": 0.3}),
    ("MultiStepLR", {"milestones": [1, 2, 3, 99, 500], "gamma": 0.7}),
    ("CosineAnnealingLR", {"T_max": 100}),
    ("CosineAnnealingLR", {"T_max": 1}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 1e-5}),
    ("CosineAnnealingLR", {"T_max": 50, "eta_min": 1e-3}),
    ("CosineAnnealingLR", {"T_max": 300}),
    ("ExponentialLR", {"gamma": 0.95}),
    ("ExponentialLR", {"gamma": 0.5}),
    ("LinearLR", {"total_iters": 100}),
    ("LinearLR", {"total_iters": 1, "start_factor": 0.5, "end_factor": 1.0}),
    ("LinearLR", {"total_iters": 30, "start_factor": 0.3, "end_factor": 0.0}),
    ("LinearLR", {"total_iters": 300, "start_factor": 1.0, "end_factor": 1.0}),
]


def rates_of_torch(
    make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], base: float
) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = make(optimizer)
    rates = []
    for _ in range(EPOCHS):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        with warnings.catch_warnings():
            # SequentialLR passes the epoch that torch has deprecated.
            warnings.filterwarnings("ignore", "The epoch parameter in `scheduler.step")
            scheduler.step()
    return rates


def build(config: ClassificationConfig, optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    assert config.scheduler is not None
    assert config.scheduler_params is not None
    made = getattr(lr_scheduler, config.scheduler)(optimizer, **config.scheduler_params.model_dump())
    assert isinstance(made, lr_scheduler.LRScheduler)
    return made


def same(ours: list[float], theirs: list[float]) -> None:
    # Near 0 torch's recurrences leave rounding errors of the largest rate.
    assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-13 * max(theirs))


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("name", "params"), SCHEDULES, ids=str)
def test_the_schedule_is_torchs(name: str, params: dict[str, Any], base: float) -> None:
    config = valid(epochs=EPOCHS, scheduler=name, scheduler_params=params)
    ours = [learning_rate(config, base, epoch) for epoch in range(1, EPOCHS + 1)]
    same(ours, rates_of_torch(lambda optimizer: build(config, optimizer), base))


@pytest.mark.parametrize("warmup", [1, 5, 40])
@pytest.mark.parametrize("base", [0.1, 3e-4])
@pytest.mark.parametrize(("name", "params"), SCHEDULES, ids=str)
def test_warmup_then_the_schedule_is_torchs(
    name: str, params: dict[str, Any], base: float, warmup: int
) -> None:
    config = valid(epochs=EPOCHS, scheduler=name, scheduler_params=params, warmup_epochs=warmup)

    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        rise = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), 1.0, total_iters=warmup)
        course = build(config, optimizer)
        return lr_scheduler.SequentialLR(optimizer, [rise, course], milestones=[warmup])

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The epoch parameter in `scheduler.step")
        theirs = rates_of_torch(make, base)
    same([learning_rate(config, base, epoch) for epoch in range(1, EPOCHS + 1)], theirs)


def test_without_a_scheduler_the_rate_is_constant() -> None:
    assert [learning_rate(valid(), 0.3, epoch) for epoch in (1, 2, 20)] == [0.3] * 3


def test_warmup_rises_evenly_to_the_base() -> None:
    config = valid(warmup_epochs=4)
    assert [learning_rate(config, 1.0, epoch) for epoch in range(1, 7)] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
