"""What chooses the parameters of a trial, and what ends a hopeless one."""

from __future__ import annotations

import numpy as np
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler

from pochi_cli.config.search import OptunaConfig, PrunerName, SamplerName

_BEST_PERCENT = 25.0
"""Share of the trials that PercentilePruner lets go on."""


def create_sampler(name: SamplerName, seed: int, number: int) -> BaseSampler:
    """Build the sampler of one trial.

    Its randomness depends on the seed and on the trial's number alone: a search that was interrupted goes on
    as it would have, and processes that share a study do not draw the same.

    Args:
        name: Which.
        seed: The study's.
        number: The trial's.
    """
    state = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    match name:
        case "TPESampler":
            # Trials that run at the same time count as bad ones, so that others keep away from them.
            return TPESampler(seed=state, constant_liar=True)
        case "CmaEsSampler":
            return CmaEsSampler(seed=state)
        case "RandomSampler" | "GridSampler":  # the points of a grid are fixed beforehand
            return RandomSampler(seed=state)


def create_pruner(search: OptunaConfig) -> BasePruner:
    """Build the pruner; an epoch is a step, from 1 on."""
    name: PrunerName = search.pruner
    match name:
        case "MedianPruner":
            return MedianPruner()
        case "PercentilePruner":
            return PercentilePruner(_BEST_PERCENT)
        case "SuccessiveHalvingPruner":
            return SuccessiveHalvingPruner(min_resource=1)
        case "HyperbandPruner":
            return HyperbandPruner(min_resource=1, max_resource=search.optuna_epochs)
        case "NopPruner" | "none":
            return NopPruner()
