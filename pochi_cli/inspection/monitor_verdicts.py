"""Verdicts on the course of a training: overfitting, instability, updates too small or too large. Torch-free.

A verdict needs more than one quantity, and must persist: a single bad batch, a noisy validation loss, or the
gap between training and validation loss alone are found in healthy trainings, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.monitor_spikes import find_loss_spikes, find_norm_spikes
from pochi_cli.inspection.monitored_steps import MonitoredSteps
from pochi_cli.runs.history import History
from pochi_cli.runs.monitor_record import MonitorEpoch

OVERFITTING_EPOCHS = 5
"""How old the minimum of the validation loss must be."""
MOST_RISE = 1.1
"""Validation loss of the last epochs over that around its minimum, medians of up to five epochs both."""
LEAST_FALL = 0.95
"""Training loss of the last epochs over that of the same: above, it no longer falls."""
LEAST_UPDATE, MOST_UPDATE = 1e-5, 1e-1
"""Update ratios of a block; around 1e-3 is usual."""
NO_BETTER_THAN_GUESSING = 0.98
"""Median loss of an epoch over the logarithm of the number of classes, above which nothing was learnt."""
WORSE_THAN_GUESSING = 1.1
"""Median loss of an epoch over the logarithm of the number of classes."""

_WINDOW = 20
_FEWEST_UPDATES = 10
_NEARLY_ALL = 0.9
_LEAST_RATE = 0.1
_PERSISTENT_EPOCHS = 3
_FEWEST_STEPS_TO_LEARN = 100


def judge_training(history: History, epochs: Sequence[MonitorEpoch], classes: int | None) -> list[Finding]:
    """Judge the course of a training by what of it was recorded.

    Args:
        history: Its finished epochs; there may be none.
        epochs: What the monitor saw; nothing where it was off.
        classes: How many classes there are; `None` for an encoder, whose loss has no level of guessing.

    Returns:
        The faults, in the order in which they began; none for a healthy training.
    """
    found = list(_overfitting(history))
    if epochs:
        steps = MonitoredSteps.of(epochs)
        guessing = [math.log(classes)] if classes else []
        level = max([*guessing, *steps.losses[:1][np.isfinite(steps.losses[:1])]], default=math.inf)
        found += [
            *_non_finite(steps),
            *_diverged(steps, level),
            *(_not_learning(steps, math.log(classes)) if classes else ()),
            *find_loss_spikes(steps, level),
            *find_norm_spikes(steps),
            *_updates(steps),
        ]
    return sorted(found, key=lambda finding: (finding.epoch or 0, finding.step or 0))


def _overfitting(history: History) -> Iterable[Finding]:
    """Find a validation loss that rises while the training loss still falls."""
    train = np.array([record.loss for record in history.epochs])
    val = np.array(
        [np.nan if (loss := record.validation_loss) is None else loss for record in history.epochs]
    )
    if len(val) <= OVERFITTING_EPOCHS or not np.isfinite(val).all():
        return
    best = int(np.argmin(val))
    age = len(val) - 1 - best
    # Medians: one lucky epoch is no minimum, one unlucky one no rise.
    around = slice(max(best - 2, 0), best + 3)
    latest = slice(-OVERFITTING_EPOCHS, None)
    rise = float(np.median(val[latest]) / np.median(val[around]))
    fall = float(np.median(train[latest]) / np.median(train[around]))
    if age < OVERFITTING_EPOCHS or not rise > MOST_RISE or not fall < LEAST_FALL:
        return
    accuracies = [record.val_accuracy for record in history.classification]
    then = (
        f"; validation accuracy {accuracies[best]:.2f} % then, {accuracies[-1]:.2f} % now"
        if accuracies
        else ""
    )
    epoch = history.epochs[best].epoch
    yield Finding(
        "overfitting",
        "warning",
        "validation loss",
        epoch,
        None,
        f"the network overfits: its validation loss was least {age} epochs ago, {val[best]:.4g} in epoch "
        f"{epoch}, and is {val[-1]:.4g} now",
        rise,
        MOST_RISE,
        f"over the last {OVERFITTING_EPOCHS} epochs the validation loss is {rise:.3g} times that around "
        f"epoch {epoch}, while the training loss fell from {train[best]:.4g} to {train[-1]:.4g}{then}",
        "use the best model, or set early_stopping; against it: more data or augmentation, mixup_alpha, "
        "label_smoothing, a larger weight_decay",
    )


def _non_finite(steps: MonitoredSteps) -> Iterable[Finding]:
    lost = ~np.isfinite(steps.losses) | (~np.isfinite(steps.grad_norms) & ~steps.is_passed_over)
    rows = np.flatnonzero(lost)
    if not len(rows):
        return
    row = int(rows[0])
    epoch, step = steps.place(row)
    what = "gradient" if np.isfinite(steps.losses[row]) else "loss"
    before = slice(max(row - _WINDOW, 0), row)
    evidence = (
        f"over the {row - before.start} recorded steps before, the loss was up to "
        f"{np.max(steps.losses[before]):.4g}, the gradient norm {np.nanmax(steps.grad_norms[before]):.4g}"
        if row
        else "from the very first step"
    )
    yield Finding(
        "non-finite",
        "error",
        what,
        epoch,
        step,
        f"the {what} is not finite at epoch {epoch}, step {step}",
        None,
        None,
        evidence,
        'lower learning_rate, add warmup_epochs or clip_grad_norm, or use precision = "fp32"',
    )


def _diverged(steps: MonitoredSteps, level: float) -> Iterable[Finding]:
    """Find a loss that stays above that of guessing all classes alike, and above where it began."""
    epoch, medians = _last_medians(steps)
    if len(medians) < 2 or not all(median > WORSE_THAN_GUESSING * level for median in medians):
        return
    yield Finding(
        "diverged",
        "error",
        "loss",
        epoch,
        None,
        f"the network learns nothing: since epoch {epoch} its loss is worse than guessing",
        medians[-1],
        WORSE_THAN_GUESSING * level,
        f"medians of the last {len(medians)} epochs {', '.join(f'{median:.4g}' for median in medians)}; "
        f"guessing all classes alike, and the first step, gave at most {level:.4g}",
        "lower learning_rate, add warmup_epochs, or set clip_grad_norm = 1.0",
    )


def _not_learning(steps: MonitoredSteps, guessing: float) -> Iterable[Finding]:
    """Find a loss that stays at that of guessing all classes alike; above it, it has diverged."""
    epoch, medians = _last_medians(steps)
    if len(medians) < _PERSISTENT_EPOCHS or len(steps.losses) < _FEWEST_STEPS_TO_LEARN:
        return
    low, high = NO_BETTER_THAN_GUESSING * guessing, WORSE_THAN_GUESSING * guessing
    if not all(low < median <= high for median in medians):
        return
    yield Finding(
        "not-learning",
        "warning",
        "loss",
        epoch,
        None,
        "the network has learnt nothing: its loss is that of guessing all classes alike",
        medians[-1],
        low,
        f"medians of the last {len(medians)} epochs {', '.join(f'{median:.4g}' for median in medians)}, "
        f"after {len(steps.losses):,} recorded steps; guessing gives {guessing:.4g}",
        "change learning_rate: far too large a rate ends here as well as one too small; add warmup_epochs; "
        "look at the labels with pochi data check",
    )


def _last_medians(steps: MonitoredSteps) -> tuple[int, list[float]]:
    """The median loss of each of the last epochs, and the first of these."""
    rows = steps.rows_of_epochs()[-_PERSISTENT_EPOCHS:]
    epoch, _ = steps.place(int(rows[0][0]))
    return epoch, [float(np.median(steps.losses[at])) for at in rows]


def _updates(steps: MonitoredSteps) -> Iterable[Finding]:
    """Judge the later half of the updates, those at a rate near the schedule's end or in its warmup aside."""
    rates = steps.update_rates
    if not len(rates) or not steps.blocks:
        return
    counted = np.flatnonzero(
        (rates >= _LEAST_RATE * rates.max()) & ~np.isnan(steps.update_ratios).all(axis=1)
    )
    rows = counted[len(counted) // 2 :]
    if len(rows) < _FEWEST_UPDATES:
        return
    ratios = steps.update_ratios[rows]
    there = ~np.isnan(ratios)
    columns = (column[~np.isnan(column)] for column in ratios.T)
    medians = np.array([np.median(column) if len(column) else np.nan for column in columns])
    counts = np.maximum(there.sum(axis=0), 1)
    epoch, step = steps.place(int(steps.update_rows[rows[0]]))
    for code, is_outside, threshold, choose, direction, suggestion in (
        (
            "update-too-small",
            ratios < LEAST_UPDATE,
            LEAST_UPDATE,
            np.nanargmin,
            "hardly moves",
            "raise learning_rate, or the block's in layer_rates; if it is meant to stay, name it in freeze",
        ),
        (
            "update-too-large",
            ratios > MOST_UPDATE,
            MOST_UPDATE,
            np.nanargmax,
            "is rewritten at every step",
            "lower learning_rate, or that of the block with layer_rates; add warmup_epochs or clip_grad_norm",
        ),
    ):
        share = is_outside.sum(axis=0) / counts
        chosen = share >= _NEARLY_ALL
        if not chosen.any():
            continue
        at = int(choose(np.where(chosen, medians, np.nan)))
        yield Finding(
            code,
            "warning",
            steps.blocks[at],
            epoch,
            step,
            f"{steps.blocks[at]} {direction}: a step changes its weights by {medians[at]:.2g} of their norm",
            float(medians[at]),
            threshold,
            f"median of the later {len(rows):,} measured steps; {share[at]:.0%} of them are beyond "
            f"{threshold:g}, and around 0.001 is usual",
            suggestion,
            tuple(name for other, name in enumerate(steps.blocks) if chosen[other] and other != at),
        )
