"""A training in the plainest way, for holding against it what the engine records."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from pochi_cli.config.root import Config
from pochi_cli.engine.building import build_state
from pochi_cli.engine.optim import set_learning_rates
from pochi_cli.engine.runtime import choose_runtime, configured
from pochi_cli.engine.tasks import prepare_task
from pochi_cli.models.freezing import train_mode


class NaiveStep(NamedTuple):
    """An optimizer step.

    Attributes:
        epoch: From 1.
        loss: Its mean loss.
        norms: Of each parameter's gradient, before clipping, by name.
        moved: By how much of its norm each trained parameter of two dimensions and more moved, by name.
    """

    epoch: int
    loss: float
    norms: dict[str, float]
    moved: dict[str, float]


def naive_steps(config: Config) -> list[NaiveStep]:
    """Train as the config says, on the CPU, and look at everything at every step."""
    runtime = choose_runtime(config)
    steps = []
    with configured(config, runtime):
        task = prepare_task(config, lambda _: None)
        state, _ = build_state(task, runtime, from_scratch=True)
        loaders, objective, *_ = task.parts(runtime)
        parameters = dict(state.model.named_parameters())
        for epoch in range(1, config.epochs + 1):
            set_learning_rates(state.optimizer, config, epoch)
            train_mode(state.model)
            batches = list(loaders.train.batches(epoch))
            for start in range(0, len(batches), config.accumulate_steps):
                inputs = [
                    objective.prepare(batch, epoch, number)
                    for number, batch in batches[start : start + config.accumulate_steps]
                ]
                weight = torch.stack([part.weight for part in inputs]).sum()
                loss = torch.zeros(())
                for part in inputs:
                    losses = objective.training_losses(state.model(part.inputs), part)
                    share = losses.losses.sum() / weight
                    share.backward()  # type: ignore[no-untyped-call]
                    loss += share.detach()
                norms = {name: float(p.grad.norm()) for name, p in parameters.items() if p.grad is not None}
                if config.clip_grad_norm is not None:
                    nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_grad_norm)
                before = {name: p.detach().clone() for name, p in parameters.items()}
                state.optimizer.step()
                state.optimizer.zero_grad()
                moved = {
                    name: float((p.detach() - before[name]).norm() / before[name].norm())
                    for name, p in parameters.items()
                    if p.ndim > 1 and p.requires_grad
                }
                steps.append(NaiveStep(epoch, float(loss), norms, moved))
    return steps
