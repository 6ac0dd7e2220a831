"""The steps of a trace as arrays, for judging them. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from pochi_cli.runs.gradient_record import GradientEpoch

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FEWEST = 10
"""Numbers that a variation needs."""


@dataclass(frozen=True, eq=False)
class TracedSteps:
    """All recorded steps of a training, one after the other.

    Attributes:
        blocks: Their names, in the order of the network.
        epochs, steps: Place of each step, from 1, int64 (steps,).
        norms, rms: As in `GradientEpoch`, float64 (steps, blocks); NaN where not finite.
        ratios: Of the root mean square of the gradient to that of the weights as the epoch began, of the
            same shape; but to that of all weights together where it is smaller: against what begins at
            zero, such as a class token, everything is large.
        is_bad: Of the same shape: a gradient of the block was not finite.
        dead_layers: As in `GradientEpoch`, of each step.
        is_absent: None of its parameters had a gradient.
        is_failed: Of shape (steps,): a gradient was not finite, and no scaler passed the step over.
    """

    blocks: tuple[str, ...]
    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    norms: Array
    ratios: Array
    rms: Array
    is_bad: Mask
    dead_layers: tuple[frozenset[tuple[str, str]], ...]
    is_absent: Mask
    is_failed: Mask

    @classmethod
    def of(cls, epochs: Sequence[GradientEpoch]) -> TracedSteps:
        """Put the steps of some epochs together; at least one."""
        all_norms = np.concatenate([epoch.norms for epoch in epochs])
        norms = _finite(all_norms)
        non_finite = np.concatenate([epoch.non_finite for epoch in epochs])
        rms = _finite(np.concatenate([epoch.rms for epoch in epochs]))
        is_passed_over = np.concatenate([np.full(len(epoch.steps), passes_over(epoch)) for epoch in epochs])
        return cls(
            blocks=epochs[0].blocks,
            epochs=np.concatenate([np.full(len(epoch.steps), epoch.epoch) for epoch in epochs]),
            steps=np.concatenate([np.array(epoch.steps, dtype=np.int64) for epoch in epochs]),
            norms=norms,
            ratios=_relative(norms, np.concatenate([epoch.ratios for epoch in epochs]), rms),
            rms=rms,
            is_bad=non_finite > 0,
            dead_layers=tuple(chain.from_iterable(epoch.dead_layers for epoch in epochs)),
            is_absent=np.isnan(all_norms) & (non_finite == 0),
            is_failed=(non_finite > 0).any(axis=1) & ~is_passed_over,
        )

    def place(self, row: int) -> tuple[int, int]:
        """Epoch and step of a row."""
        return int(self.epochs[row]), int(self.steps[row])

    def rows_of_epochs(self) -> list[NDArray[np.intp]]:
        """The rows of each epoch."""
        return [np.flatnonzero(self.epochs == epoch) for epoch in np.unique(self.epochs)]

    def named(self, chosen: Mask, but: int | None = None) -> tuple[str, ...]:
        """The names of the chosen blocks but one."""
        return tuple(name for at, name in enumerate(self.blocks) if chosen[at] and at != but)


def _relative(norms: Array, ratios: Array, rms: Array) -> Array:
    """Hold gradients against their weights, and those of small weights against what is usual."""
    known = np.isfinite(ratios) & (ratios > 0) & (rms > 0)
    weights = np.divide(rms, ratios, out=np.zeros(rms.shape), where=known)
    entries = np.square(np.divide(norms, rms, out=np.zeros(rms.shape), where=known))
    total = np.maximum(entries.sum(axis=1), 1)
    usual = np.sqrt((np.square(weights) * entries).sum(axis=1) / total)
    scale = np.maximum(weights, usual[:, None])
    relative: Array = np.divide(rms, scale, out=np.full(rms.shape, np.nan), where=scale > 0)
    return relative


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def passes_over(epoch: GradientEpoch) -> bool:
    """Whether steps were passed over for gradients that are not finite: they are in no mean then."""
    means = [mean for mean, bad in zip(epoch.means, epoch.non_finite.T, strict=True) if bad.any()]
    return bool(means) and all(mean is None or np.isfinite(mean) for mean in means)


def variation(norms: Array) -> Array:
    """Coefficient of variation of each column; NaN for one with too few numbers, or only zeros."""
    enough = np.isfinite(norms).sum(axis=0) >= _FEWEST
    deviation, mean = over_rows(np.nanstd, norms), over_rows(np.nanmean, norms)
    result = np.full(len(mean), np.nan)
    np.divide(deviation, mean, out=result, where=enough & (mean > 0))
    return result


def over_rows(reduce: Callable[..., Array], norms: Array) -> Array:
    """Reduce the columns; NaN for one without a number, of which numpy would warn."""
    result = np.full(norms.shape[1], np.nan)
    known = np.isfinite(norms).any(axis=0)
    result[known] = reduce(norms[:, known], axis=0)
    return result
