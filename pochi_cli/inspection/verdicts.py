"""Verdicts on traced gradients. Free of torch.

No threshold is a norm: norms depend on the size of a layer. They are held against the weights, against the
other blocks at the same step, and against the same block at other steps; and what is found must persist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.findings import Finding
from pochi_cli.runs.gradient_record import GradientEpoch

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_GROWTH = 100.0
"""Norm over the block's first one; healthy ones stay below 30."""
MOST_RATIO = 10.0
"""Norm over that of the weights, of a block that grew; and 100 times as much of one that began so."""
LEAST_SHARE = 1e-4
"""Root mean square of a gradient over that of a later block. Each sigmoid layer takes away a factor of 7."""
MOST_VARIATION = 3.0
"""Standard deviation over mean of a block's norms over the steps of an epoch; healthy ones stay below 2."""
MOST_PASSED_OVER = 0.05
"""Share of an epoch's steps that the scaler of the loss (fp16) may pass over."""

_PERSISTENT_STEPS = 3
_SOON = 5
_PERSISTENT_EPOCHS = 3
_FEWEST_FOR_VARIATION = 10
_NEARLY_ALL = 0.9
_DEAD_STEPS = 5


def judge_gradients(epochs: Sequence[GradientEpoch]) -> list[Finding]:
    """Judge the trace of a training.

    Args:
        epochs: The recorded ones, rising.

    Returns:
        The faults, in the order in which they began; none for a healthy training.
    """
    epochs = [epoch for epoch in epochs if epoch.steps]
    if not epochs:
        return []
    trace = _Trace.of(epochs)
    vanishing = _vanishing(trace)
    rules: tuple[Iterable[Finding], ...] = (
        _non_finite(trace),
        _passed_over(epochs),
        _exploding(trace),
        vanishing,
        # What is smaller than any number counts as vanished rather than as dead.
        _dead(trace, except_for={name for found in vanishing for name in (found.where, *found.also)}),
        _unstable(trace),
    )
    return sorted((found for rule in rules for found in rule), key=_beginning)


def _beginning(finding: Finding) -> tuple[int, int]:
    return finding.epoch or 0, finding.step or 0


@dataclass(frozen=True, eq=False)
class _Trace:
    """All recorded steps, one after the other; arrays of shape (steps, blocks)."""

    blocks: tuple[str, ...]
    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    norms: Array
    ratios: Array
    rms: Array
    is_bad: Mask
    is_dead: Mask
    is_absent: Mask
    is_failed: Mask
    """Of shape (steps,): a gradient was not finite, and no scaler of the loss passed the step over."""

    @classmethod
    def of(cls, epochs: Sequence[GradientEpoch]) -> _Trace:
        norms = np.concatenate([epoch.norms for epoch in epochs])
        non_finite = np.concatenate([epoch.non_finite for epoch in epochs])
        is_passed_over = np.concatenate([np.full(len(epoch.steps), _passes_over(epoch)) for epoch in epochs])
        return cls(
            blocks=epochs[0].blocks,
            epochs=np.concatenate([np.full(len(epoch.steps), epoch.epoch) for epoch in epochs]),
            steps=np.concatenate([np.array(epoch.steps, dtype=np.int64) for epoch in epochs]),
            norms=_finite(norms),
            ratios=_finite(np.concatenate([epoch.ratios for epoch in epochs])),
            rms=_finite(np.concatenate([epoch.rms for epoch in epochs])),
            is_bad=non_finite > 0,
            is_dead=np.concatenate([epoch.dead_layers for epoch in epochs]) > 0,
            is_absent=np.isnan(norms) & (non_finite == 0),
            is_failed=(non_finite > 0).any(axis=1) & ~is_passed_over,
        )

    def place(self, row: int) -> tuple[int, int]:
        return int(self.epochs[row]), int(self.steps[row])

    def rows_of_epochs(self) -> list[NDArray[np.intp]]:
        return [np.flatnonzero(self.epochs == epoch) for epoch in np.unique(self.epochs)]

    def named(self, chosen: Mask, but: int | None = None) -> tuple[str, ...]:
        """The names of the chosen blocks but one."""
        return tuple(name for at, name in enumerate(self.blocks) if chosen[at] and at != but)


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _passes_over(epoch: GradientEpoch) -> bool:
    """Whether steps were passed over for gradients that are not finite: they are in no mean then."""
    means = [mean for mean, bad in zip(epoch.means, epoch.non_finite.T, strict=True) if bad.any()]
    return bool(means) and all(mean is None or np.isfinite(mean) for mean in means)


def _non_finite(trace: _Trace) -> Iterable[Finding]:
    rows = np.flatnonzero(trace.is_failed)
    if not len(rows):
        return
    bad = trace.is_bad[rows[0]]
    at = int(np.flatnonzero(bad)[-1])  # the backward pass meets the last block first
    epoch, step = trace.place(rows[0])
    origin = (
        f"that of {trace.blocks[at + 1]} behind it is finite: it began between the two"
        if at + 1 < len(bad)
        else "no block behind it is finite: it began in the forward pass or in the loss"
    )
    yield Finding(
        "non-finite",
        "error",
        trace.blocks[at],
        epoch,
        step,
        f"the gradient of {trace.blocks[at]} is not finite at epoch {epoch}, step {step}",
        None,
        None,
        f"first of {len(rows):,} such steps recorded; {origin}",
        'lower learning_rate, add warmup_epochs or clip_grad_norm, or use precision = "fp32"',
        trace.named(bad, at),
    )


def _passed_over(epochs: Sequence[GradientEpoch]) -> Iterable[Finding]:
    """Judge fp16: a few steps are passed over while the scale is sought, and one now and then later."""
    for epoch in epochs[1:] if len(epochs) > 1 else ():
        bad = epoch.non_finite.any(axis=1)
        share = max(bad.sum() / epoch.steps[-1], bad.mean() if bad.mean() > 0.5 else 0)
        if _passes_over(epoch) and share > MOST_PASSED_OVER and bad.sum() >= _PERSISTENT_STEPS:
            first = epoch.steps[int(np.flatnonzero(bad)[0])]
            at = int(np.flatnonzero(epoch.non_finite[bad].any(axis=0))[-1])
            yield Finding(
                "non-finite",
                "warning",
                epoch.blocks[at],
                epoch.epoch,
                first,
                f"half precision overflows in {epoch.blocks[at]}: steps of epoch {epoch.epoch} are lost",
                float(share),
                MOST_PASSED_OVER,
                f"{share:.0%} of the steps were passed over, the first at step {first}",
                'use precision = "bf16" or "fp32", or lower learning_rate',
            )
            return


def _exploding(trace: _Trace) -> Iterable[Finding]:
    growth = trace.norms / _first_norms(trace)
    with np.errstate(invalid="ignore"):  # NaN compares false
        big = (growth >= MOST_GROWTH) & (trace.ratios >= MOST_RATIO) | (
            trace.ratios >= MOST_GROWTH * MOST_RATIO
        )
    # It persists, or it soon leaves what is no number any more, or no gradient at all.
    is_over = trace.is_failed | trace.is_dead.all(axis=1)
    big &= np.stack(
        [
            (big[row : row + _SOON].sum(axis=0) >= _PERSISTENT_STEPS) | is_over[row + 1 : row + _SOON].any()
            for row in range(len(big))
        ]
    )
    blocks: Mask = np.any(big, axis=0)
    if not blocks.any():
        return
    row = int(np.flatnonzero(big.any(axis=1))[0])
    at = int(np.nanargmax(np.where(big[row], trace.ratios[row], -1)))
    epoch, step = trace.place(row)
    name, ratio = trace.blocks[at], float(trace.ratios[row, at])
    has_grown = growth[row, at] >= MOST_GROWTH
    yield Finding(
        "exploding",
        "error",
        name,
        epoch,
        step,
        f"the gradient of {name} explodes at epoch {epoch}, step {step}: {ratio:.3g} times its weights",
        ratio,
        MOST_RATIO if has_grown else MOST_GROWTH * MOST_RATIO,
        f"norm {trace.norms[row, at]:.3g}, {growth[row, at]:.3g} times the first one; "
        f"{int(big[:, at].sum()):,} such steps recorded",
        "lower learning_rate, add warmup_epochs, or set clip_grad_norm = 1.0",
        trace.named(blocks, at),
    )


def _first_norms(trace: _Trace) -> Array:
    """Each block's first norm above 0, (blocks,): a head that begins at zero gives none at first."""
    return np.array([next(iter(column[column > 0]), np.nan) for column in trace.norms.T])


def _vanishing(trace: _Trace) -> list[Finding]:
    rms = np.nan_to_num(trace.rms, nan=0)
    most_up_to = np.maximum.accumulate(rms, axis=1)[:, :-1]
    most_behind = np.maximum.accumulate(rms[:, ::-1], axis=1)[:, ::-1][:, 1:]
    # Where a block before gets its share, what is small has another reason than depth.
    small = (most_up_to < LEAST_SHARE * most_behind) & (most_up_to > 0)
    latest = trace.rows_of_epochs()[-_PERSISTENT_EPOCHS:]
    if small.shape[1] == 0 or sum(map(len, latest)) < _PERSISTENT_STEPS:
        return []
    persistent = np.stack([small[rows].mean(axis=0) >= _NEARLY_ALL for rows in latest]).all(axis=0)
    if not persistent.any():
        return []
    last = int(np.flatnonzero(persistent)[-1])
    rows = np.concatenate(latest)
    levels = np.median(rms[rows], axis=0)
    at, strongest = int(np.argmin(levels[: last + 1])), int(np.argmax(levels))
    epoch, step = trace.place(int(latest[0][0]))
    share = float(levels[at] / levels[strongest])
    chosen = np.arange(len(trace.blocks)) <= last
    per_block = (levels[strongest] / levels[last]) ** (1 / (strongest - last))
    return [
        Finding(
            "vanishing",
            "error",
            trace.blocks[at],
            epoch,
            step,
            f"gradients vanish towards the input: {trace.blocks[at]} gets {share:.1g} of what "
            f"{trace.blocks[strongest]} gets",
            share,
            LEAST_SHARE,
            f"root mean square {levels[at]:.1g} against {levels[strongest]:.1g}, median of {len(rows):,} "
            f"recorded steps; about {per_block:.2g} times less with each block",
            "use a network with normalisation or residual connections, such as vgg11_bn or resnet18, "
            "or pretrained = true",
            trace.named(chosen, at),
        )
    ]


def _dead(trace: _Trace, except_for: set[str]) -> Iterable[Finding]:
    """Find what gets no gradient until the end: the last such block is the one that lets none through."""
    silent = {
        "dead": (trace.is_dead, "is exactly zero", "its activations are dead (as of a ReLU below zero)"),
        "absent": (trace.is_absent, "is missing", "its output was detached, or it is not used"),
    }
    for mask, what, why in silent.values():
        since = {at: _silent_since(mask[:, at]) for at in range(len(trace.blocks))}
        rows = {
            at: row for at, row in since.items() if row is not None and trace.blocks[at] not in except_for
        }
        if not rows:
            continue
        at = max(rows)
        row = min(rows.values()) if len(rows) == len(trace.blocks) else rows[at]
        epoch, step = trace.place(row)
        count = len(mask) - row
        yield Finding(
            "dead-block",
            "error",
            trace.blocks[at],
            epoch,
            step,
            f"the gradient of {trace.blocks[at]} {what} since epoch {epoch}, step {step}",
            0.0,
            None,
            f"at all {count:,} recorded steps since; {why}" + _passing_on(len(rows), len(trace.blocks)),
            "a dead block does not recover: begin again with a lower learning_rate or with warmup_epochs"
            if what == "is exactly zero"
            else "look for detach() or no_grad() in the model, or name it in freeze if that is meant",
            tuple(trace.blocks[other] for other in sorted(rows) if other != at),
        )


def _passing_on(silent: int, blocks: int) -> str:
    if silent == blocks:
        return "; so is every other block"
    return f"; so are {silent - 1} blocks before it" if silent > 1 else ""


def _silent_since(silent: Mask) -> int | None:
    """The row from which on all are silent, if they are long enough."""
    loud = np.flatnonzero(~silent)
    since = int(loud[-1]) + 1 if len(loud) else 0
    return since if len(silent) - since >= min(_DEAD_STEPS, len(silent)) and since < len(silent) else None


def _unstable(trace: _Trace) -> Iterable[Finding]:
    epochs = trace.rows_of_epochs()
    if len(epochs) < _PERSISTENT_EPOCHS:
        return
    usual = _over_rows(np.nanmedian, trace.norms[epochs[0]])
    variation = np.stack([_variation(trace.norms[rows]) for rows in epochs])
    largest = np.stack([_over_rows(np.nanmax, trace.norms[rows]) for rows in epochs])
    with np.errstate(invalid="ignore"):
        wild = (variation > MOST_VARIATION) & (largest > MOST_RATIO * usual)
    latest: Mask = np.all(wild[-_PERSISTENT_EPOCHS:], axis=0)
    if not latest.any():
        return
    at = int(np.argmax(np.where(latest, variation[-1], -1)))
    quiet = np.flatnonzero(~wild[:, at])
    began = int(quiet[-1]) + 1 if len(quiet) else 0
    rows = epochs[began]
    row = int(rows[np.nanargmax(trace.norms[rows, at])])
    epoch, step = trace.place(row)
    value = float(variation[-1, at])
    yield Finding(
        "unstable",
        "warning",
        trace.blocks[at],
        epoch,
        step,
        f"the gradient of {trace.blocks[at]} is unstable since epoch {epoch}: its norm varies by "
        f"{value:.2g} times its mean from step to step",
        value,
        MOST_VARIATION,
        f"in {len(epochs) - began} epochs on end; at step {step} it is {trace.norms[row, at]:.3g}, "
        f"{trace.norms[row, at] / usual[at]:.3g} times the median of the first epoch",
        "set clip_grad_norm = 1.0, lower learning_rate, or raise batch_size or accumulate_steps",
        trace.named(latest, at),
    )


def _variation(norms: Array) -> Array:
    """Coefficient of variation of each column; NaN for one with too few numbers, or only zeros."""
    enough = np.isfinite(norms).sum(axis=0) >= _FEWEST_FOR_VARIATION
    deviation, mean = _over_rows(np.nanstd, norms), _over_rows(np.nanmean, norms)
    result = np.full(len(mean), np.nan)
    np.divide(deviation, mean, out=result, where=enough & (mean > 0))
    return result


def _over_rows(reduce: Callable[..., Array], norms: Array) -> Array:
    """Reduce the columns; NaN for one without a number, of which numpy would warn."""
    result = np.full(norms.shape[1], np.nan)
    known = np.isfinite(norms).any(axis=0)
    result[known] = reduce(norms[:, known], axis=0)
    return result
