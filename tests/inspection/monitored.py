"""Trainings that never were: histories, and what a monitor would have seen of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pochi_cli.runs.epochs import ClassificationEpoch
from pochi_cli.runs.history import History
from pochi_cli.runs.monitor_record import Array, MonitorEpoch


def make_history(train: Sequence[float], val: Sequence[float | None]) -> History:
    """Make epochs from their losses; the accuracies follow them."""
    return History(
        tuple(
            ClassificationEpoch(
                epoch=epoch,
                learning_rate=0.1,
                train_loss=train_loss,
                train_accuracy=100 * float(np.exp(-train_loss)),
                val_loss=val_loss,
                val_accuracy=None if val_loss is None else 100 * float(np.exp(-val_loss)),
            )
            for epoch, (train_loss, val_loss) in enumerate(zip(train, val, strict=True), start=1)
        )
    )


def healthy_losses(epochs: int, steps: int) -> Array:
    """Losses that fall from that of guessing one of 10 classes, noisy to the end, (epochs, steps)."""
    random = np.random.default_rng(0)
    course = 2.3 * np.exp(-np.linspace(0, 4, epochs * steps))
    losses: Array = course * np.exp(0.5 * random.standard_normal(course.shape) - 0.1)
    losses[0] = 2.35
    return np.minimum(losses, 2.3 + 0.3 * random.random(course.shape)).reshape(epochs, steps)


def make_epochs(
    losses: Array,
    grad_norms: Array | None = None,
    ratios: Iterable[float] = (1e-3,),
    rates: Sequence[float] | None = None,
    first: int = 1,
) -> list[MonitorEpoch]:
    """Make epochs from the losses of their steps, (epochs, steps); every second step's updates are measured.

    Args:
        losses: Of the steps.
        grad_norms: Of the same; three times the losses where they are not given.
        ratios: Of each of the blocks `block1`, ..., at all steps.
        rates: Learning rate of each epoch.
        first: Number of the first epoch.
    """
    row = np.array(list(ratios))
    count = losses.shape[1]
    measured = tuple(range(1, count + 1, 2))
    return [
        MonitorEpoch(
            epoch=first + at,
            steps=tuple(range(1, count + 1)),
            losses=values,
            grad_norms=3 * values if grad_norms is None else grad_norms[at],
            learning_rate=0.1 if rates is None else rates[at],
            is_passed_over=np.zeros(count, dtype=np.bool_),
            samples_per_second=np.full(count, 100.0),
            blocks=tuple(f"block{number}" for number in range(1, len(row) + 1)),
            update_steps=measured,
            update_ratios=np.tile(row, (len(measured), 1)),
        )
        for at, values in enumerate(losses)
    ]
