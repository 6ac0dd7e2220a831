"""Judging a model on validation data."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from pochi_cli.engine.distributed import Alone, in_order
from pochi_cli.engine.losses import SampleLosses
from pochi_cli.engine.objectives import StepInput, Watch
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.totals import EpochTotals
from pochi_cli.errors import DataError


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    losses: Callable[[Tensor, StepInput], SampleLosses],
    batches: Iterable[tuple[int, StepInput]],
    count: int,
    totals: EpochTotals,
    runtime: Runtime,
    watch: Watch,
) -> dict[str, float]:
    """Compute loss and more over all samples.

    Several processes take whole batches in turn, and their sums are added in the order of the batches: the
    result is that of one process to the last digit.

    Args:
        model: Set to eval mode.
        forward: What computes its outputs from the inputs of a step.
        losses: Computes the losses of a batch from the model's outputs.
        batches: Numbered, on the device; those that this process takes.
        count: How many there are in all.
        totals: What is summed.
        runtime: Its precision, and the processes that evaluate together.
        watch: Told of each batch.

    Returns:
        The means, by the names that `totals` gives them.

    Raises:
        DataError: There is no sample.
    """
    model.eval()
    team = runtime.team
    rows: list[tuple[int, Tensor]] = []
    for taken in team.rounds(iter(batches), count):
        seen: tuple[Tensor, Tensor] | None = None
        done = count
        if taken is not None:
            number, step = taken
            done = min(count, number - number % team.size + team.size)
            with runtime.autocast():
                outputs = forward(step.inputs)
            totals.add(losses(outputs, step), outputs, step.targets)
            rows.append((number, totals.take()))
            seen = outputs, step.targets
        for one in _of_all(team, seen) if watch.is_gathered else [seen]:
            if one is not None:
                watch.batch(done, *one)
        watch.round(done)
    ordered = in_order(team, rows)
    if not ordered:  # a process that is alone hears it from the loader
        raise DataError("no batch of the validation data could be used: all of its images are bad")
    for row in ordered:
        totals.settle(row)
    return totals.read()


def _of_all(team: Alone, seen: tuple[Tensor, Tensor] | None) -> list[tuple[Tensor, Tensor] | None]:
    """Collect outputs and targets of all processes, from the memory of their devices."""
    return team.gather(None if seen is None else (seen[0].cpu(), seen[1].cpu()))
