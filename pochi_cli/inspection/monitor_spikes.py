"""Steps at which the loss or the gradient of a training jumps. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.monitored_steps import Array, Mask, MonitoredSteps

LOSS_SPIKE = 3.0
"""Loss of a step over the median of the steps before. In a trained network a hard batch easily has more than
that, so the loss must also exceed that of guessing, and the one with which the training began."""
NORM_SPIKE = 10.0
"""Gradient norm of a step over the median of the steps before, and over that of the first epoch."""

_WINDOW = 20
_FEWEST_SPIKES = 3


def find_loss_spikes(steps: MonitoredSteps, level: float) -> Iterable[Finding]:
    """Find a loss that jumps again and again.

    Args:
        steps: Of the training.
        level: What the loss began with, or that of guessing, whichever is more.
    """
    rows, usual = _medians_before(steps.losses)
    values = steps.losses[rows]
    spikes = (values > LOSS_SPIKE * usual) & (values > level)
    yield from _unstable(
        steps,
        rows,
        spikes,
        values / usual,
        LOSS_SPIKE,
        "loss",
        lambda at: (
            f"{values[at]:.4g} after a median of {usual[at]:.4g}, and more than the {level:.4g} of guessing"
        ),
    )


def find_norm_spikes(steps: MonitoredSteps) -> Iterable[Finding]:
    """Find a gradient norm that jumps again and again; steps that the scaler passed over do not count."""
    rows, usual = _medians_before(steps.grad_norms)
    values = steps.grad_norms[rows]
    early = steps.grad_norms[steps.rows_of_epochs()[0]]
    first = float(np.median(early[np.isfinite(early)])) if np.isfinite(early).any() else math.inf
    spikes = (values > NORM_SPIKE * usual) & (values > NORM_SPIKE * first)
    yield from _unstable(
        steps,
        rows,
        spikes,
        values / usual,
        NORM_SPIKE,
        "gradient norm",
        lambda at: f"{values[at]:.4g} after a median of {usual[at]:.4g}, and {first:.4g} in the first epoch",
    )


def _medians_before(values: Array) -> tuple[NDArray[np.int64], Array]:
    """Compute for each finite value but the first ones the median of those before it.

    Returns:
        Their rows, and the medians.
    """
    rows = np.flatnonzero(np.isfinite(values)).astype(np.int64)
    if len(rows) <= _WINDOW:
        return rows[:0], values[:0]
    medians = np.median(sliding_window_view(values[rows], _WINDOW)[:-1], axis=1)
    return rows[_WINDOW:], np.maximum(medians, np.finfo(np.float64).tiny)


def _unstable(
    steps: MonitoredSteps,
    rows: NDArray[np.int64],
    spikes: Mask,
    heights: Array,
    threshold: float,
    what: str,
    describe: Callable[[int], str],
) -> Iterable[Finding]:
    """Tell of spikes that come again and again, to the end: steps on end that are high count once."""
    begins = np.flatnonzero(spikes & ~np.concatenate([[False], spikes[:-1]]))
    if len(begins) < _FEWEST_SPIKES:
        return
    epochs = steps.epochs[rows[begins]]
    seen = np.unique(steps.epochs)
    if len(np.unique(epochs)) < min(2, len(seen)) or epochs[-1] < np.median(seen):
        return
    worst = int(np.argmax(np.where(spikes, heights, 0)))
    (epoch, step), (first_epoch, first_step) = steps.place(rows[worst]), steps.place(rows[begins[0]])
    yield Finding(
        "unstable",
        "warning",
        what,
        first_epoch,
        first_step,
        f"the {what} is unstable: {len(begins):,} times it jumps to more than {threshold:g} times its median",
        float(heights[worst]),
        threshold,
        f"first at epoch {first_epoch}, step {first_step}, last in epoch {epochs[-1]}; the worst at epoch "
        f"{epoch}, step {step}: {describe(worst)}",
        "lower learning_rate, add warmup_epochs, or set clip_grad_norm = 1.0",
    )
