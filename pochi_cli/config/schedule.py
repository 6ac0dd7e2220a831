"""The learning rate of every epoch, in closed form and without torch.

One definition serves the plan that is printed before training and the engine itself; the tests hold it
against torch's own schedulers.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from pochi_cli.config.optim import (
    CosineAnnealingLRParams,
    ExponentialLRParams,
    LinearLRParams,
    MultiStepLRParams,
    OptimConfig,
    SchedulerParams,
    StepLRParams,
)


def learning_rate(config: OptimConfig, base: float, epoch: int) -> float:
    """Compute the learning rate used in an epoch.

    During `warmup_epochs` W the rate of epoch e is base * e / (W + 1); the scheduler's course begins
    with the epoch after them.

    Args:
        config: Scheduler and warmup.
        base: Configured rate of the parameter group.
        epoch: From 1.

    Returns:
        The rate; a learning rate per epoch as torch's scheduler of that name gives it.
    """
    if epoch <= config.warmup_epochs:
        return base * epoch / (config.warmup_epochs + 1)
    if config.scheduler_params is None:
        return base
    return _scheduled(config.scheduler_params, base, epoch - config.warmup_epochs - 1)


def _scheduled(params: SchedulerParams, base: float, elapsed: int) -> float:
    """Rate after a number of elapsed epochs, from 0."""
    match params:
        case StepLRParams():
            return base * params.gamma ** (elapsed // params.step_size)
        case MultiStepLRParams():
            return base * params.gamma ** bisect_right(params.milestones, elapsed)
        case ExponentialLRParams():
            return base * params.gamma**elapsed
        case LinearLRParams():
            progress = min(elapsed, params.total_iters) / params.total_iters
            return base * (params.start_factor + (params.end_factor - params.start_factor) * progress)
        case CosineAnnealingLRParams():
            cosine = (1 + math.cos(math.pi * elapsed / params.T_max)) / 2
            return params.eta_min + (base - params.eta_min) * cosine
