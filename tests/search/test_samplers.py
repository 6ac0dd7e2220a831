"""Pruners end hopeless trials, and only those; what is drawn depends on seed and number alone."""

from __future__ import annotations

from typing import get_args

import optuna
import pytest

from pochi_cli.config.search import OptunaConfig, PrunerName
from pochi_cli.search.samplers import create_pruner, create_sampler

GOOD, BAD = (50.0, 60.0, 70.0, 80.0), (1.0, 1.0, 1.0, 1.0)


def pruned_after(name: PrunerName, course: tuple[float, ...], before: int = 12) -> int | None:
    """The epoch after which a trial is ended, after some good ones; `None` if it is not."""
    search = OptunaConfig.model_validate(
        {
            "pruner": name,
            "optuna_epochs": len(course),
            "search_space": {"seed": {"type": "int", "low": 0, "high": 9}},
        }
    )
    study = optuna.create_study(direction="maximize", pruner=create_pruner(search))
    for number in range(before):
        trial = study.ask()
        for epoch, value in enumerate(GOOD, 1):
            trial.report(value - number, epoch)
            trial.should_prune()  # halving remembers the trials that it was asked about
        study.tell(trial, GOOD[-1] - number)
    trial = study.ask()
    for epoch, value in enumerate(course, 1):
        trial.report(value, epoch)
        if trial.should_prune():
            return epoch
    return None


@pytest.mark.parametrize("name", [name for name in get_args(PrunerName) if name not in ("none", "NopPruner")])
def test_a_hopeless_trial_is_ended_after_its_first_epochs(name: PrunerName) -> None:
    after = pruned_after(name, BAD)
    assert after is not None
    assert after < len(BAD)
    assert pruned_after(name, tuple(value + 50 for value in GOOD)) is None


@pytest.mark.parametrize("name", ["none", "NopPruner"])
def test_none_ends_nothing(name: PrunerName) -> None:
    assert pruned_after(name, BAD) is None


def test_the_median_needs_some_trials_first() -> None:
    assert pruned_after("MedianPruner", BAD, before=4) is None
    assert pruned_after("MedianPruner", BAD, before=5) == 1


@pytest.mark.parametrize("name", ["TPESampler", "RandomSampler", "CmaEsSampler"])
def test_what_is_drawn_depends_on_seed_and_number(name: str) -> None:
    def drawn(seed: int, number: int) -> float:
        study = optuna.create_study(sampler=create_sampler(name, seed, number))  # type: ignore[arg-type]
        return study.ask().suggest_float("x", 0, 1)

    assert drawn(0, 3) == drawn(0, 3)
    assert len({drawn(seed, number) for seed in range(3) for number in range(3)}) == 9
