"""Judging a model on validation data."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from pochi_cli.data.datasets import Batch
from pochi_cli.engine.objectives import Objective
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.totals import EpochTotals


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    objective: Objective,
    batches: Iterable[tuple[int, Batch]],
    runtime: Runtime,
    on_batch: Callable[[int, Tensor, Tensor], None],
) -> tuple[float, float]:
    """Compute loss and accuracy over all samples; both are independent of the batches' sizes.

    Args:
        model: Set to eval mode.
        objective: Its validation loss is used.
        batches: Numbered, on the CPU.
        runtime: Device, precision and layout.
        on_batch: Called with the number of batches done, and logits and labels of the last one.

    Returns:
        Mean loss, sum(w_i l_i) / sum(w_i), and accuracy in percent.
    """
    model.eval()
    totals = EpochTotals(runtime)
    for number, loaded in batches:
        batch = loaded.to(runtime.device, non_blocking=True, channels_last=runtime.channels_last)
        with runtime.autocast():
            logits = model(batch.images)
        totals.add(objective.validation_losses(logits, batch.labels), logits, batch.labels)
        on_batch(number + 1, logits, batch.labels)
    return totals.read()
