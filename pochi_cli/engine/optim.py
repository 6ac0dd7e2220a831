"""Optimizer and learning rates."""

from __future__ import annotations

import torch
from torch import nn

from pochi_cli.config.optim import AdamParams, AdamWParams, OptimConfig, SGDParams
from pochi_cli.config.patterns import assign
from pochi_cli.config.schedule import learning_rate

BASE = ""
"""Name of the group of those parameters that no layer-wise pattern matches."""


def create_optimizer(config: OptimConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer with one parameter group per layer-wise pattern, and one for the others.

    Groups carry their pattern as `name` and their configured rate as `base_lr`. Frozen parameters are
    in none of them.

    Args:
        config: Optimizer, its arguments and the rates.
        model: On the device that it will be trained on, since fused optimizers ask for that.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    pattern_of = assign(config.layer_rates, trained)
    groups = []
    for pattern, rate in [*config.layer_rates.items(), (BASE, config.learning_rate)]:
        members = [parameter for name, parameter in trained.items() if (pattern_of[name] or BASE) == pattern]
        if members:
            groups.append({"params": members, "name": pattern, "base_lr": rate, "lr": rate})
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in trained.values())
    match config.optimizer_params:
        case SGDParams() as params:
            return torch.optim.SGD(groups, fused=fused, **params.model_dump())
        case AdamParams() as params:
            return torch.optim.Adam(groups, fused=fused, **params.model_dump())
        case AdamWParams() as params:
            return torch.optim.AdamW(groups, fused=fused, **params.model_dump())


def set_learning_rates(optimizer: torch.optim.Optimizer, config: OptimConfig, epoch: int) -> dict[str, float]:
    """Set every group's rate for an epoch.

    Returns:
        The rate in force of each group, by the group's name.
    """
    rates = {}
    for group in optimizer.param_groups:
        group["lr"] = rates[group["name"]] = learning_rate(config, group["base_lr"], epoch)
    return rates
