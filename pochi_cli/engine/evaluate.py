"""Judging a model on validation data."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from pochi_cli.engine.losses import SampleLosses
from pochi_cli.engine.objectives import OnBatch, StepInput
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.totals import EpochTotals


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    losses: Callable[[Tensor, StepInput], SampleLosses],
    batches: Iterable[tuple[int, StepInput]],
    totals: EpochTotals,
    runtime: Runtime,
    on_batch: OnBatch,
) -> dict[str, float]:
    """Compute loss and more over all samples.

    Args:
        model: Set to eval mode.
        forward: What computes its outputs from the inputs of a step.
        losses: Computes the losses of a batch from the model's outputs.
        batches: Numbered, on the device.
        totals: What is summed.
        runtime: Its precision.
        on_batch: Called after each batch.

    Returns:
        The means, by the names that `totals` gives them.
    """
    model.eval()
    for number, step in batches:
        with runtime.autocast():
            outputs = forward(step.inputs)
        totals.add(losses(outputs, step), outputs, step.targets)
        on_batch(number + 1, outputs, step.targets)
    return totals.read()
