"""Verdicts on traced gradients. Free of torch.

No threshold is a norm: norms depend on the size of a layer. They are held against the weights, against the
other blocks at the same step, and against the same block at other steps; and what is found must persist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.traced_steps import Array, Mask, TracedSteps, over_rows, passes_over, variation
from pochi_cli.runs.gradient_record import GradientEpoch

MOST_GROWTH = 100.0
"""Norm over the block's first one; where residual branches begin near zero healthy ones reach 450."""
MOST_RATIO = 10.0
"""Norm over that of the weights, of a block that grew: healthy ones that grow stay below 3. One that is large
from the beginning, as healthy ones with normalisation are (up to 80), must reach 100 times as much."""
LEAST_SHARE = 1e-4
"""Root mean square of a gradient over that of a later block. Each sigmoid layer takes away a factor of 7."""
MOST_VARIATION = 3.0
"""Standard deviation over mean of a block's norms over the steps of an epoch; healthy ones stay below 2 but
for the first epoch, and below it at the end, when most norms are small: the largest must be large, too."""
MOST_PASSED_OVER = 0.05
"""Share of an epoch's steps that the scaler of the loss (fp16) may pass over."""

_PERSISTENT_STEPS = 3
_SOON = 5
_PERSISTENT_EPOCHS = 3
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
    trace = TracedSteps.of(epochs)
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


def _non_finite(trace: TracedSteps) -> Iterable[Finding]:
    rows = np.flatnonzero(trace.is_failed)
    if not len(rows):
        return
    bad = trace.is_bad[rows[0]]
    at = int(np.flatnonzero(bad)[-1])  # the backward pass meets the last block first
    epoch, step = trace.place(rows[0])
    origin = (
        f"that of {trace.blocks[at + 1]} behind it is finite: it began between the two"
        if at + 1 < len(bad)
        else "no block behind it is finite: it began in the forward pass, the loss, or what is not recorded"
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
        f"recorded steps that are not finite: {len(rows):,}; {origin}",
        'lower learning_rate, add warmup_epochs or clip_grad_norm, or use precision = "fp32"',
        trace.named(bad, at),
    )


def _passed_over(epochs: Sequence[GradientEpoch]) -> Iterable[Finding]:
    """Judge fp16: a few steps are passed over while the scale is sought, and one now and then later."""
    for epoch in epochs[1:] if len(epochs) > 1 else ():
        bad = epoch.non_finite.any(axis=1)
        share = max(bad.sum() / epoch.steps[-1], bad.mean() if bad.mean() > 0.5 else 0)
        if passes_over(epoch) and share > MOST_PASSED_OVER and bad.sum() >= _PERSISTENT_STEPS:
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


def _exploding(trace: TracedSteps) -> Iterable[Finding]:
    growth = trace.norms / _first_norms(trace)
    with np.errstate(invalid="ignore"):  # NaN compares false
        big = (growth >= MOST_GROWTH) & (trace.ratios >= MOST_RATIO) | (
            trace.ratios >= MOST_GROWTH * MOST_RATIO
        )
    # It persists, or it soon leaves what is no number any more, or no gradient at all.
    every = set(trace.blocks)
    all_dead = [bool(dead) and {block for block, _ in dead} == every for dead in trace.dead_layers]
    is_over = trace.is_failed | np.array(all_dead)
    soon_big = _from_each(big).sum(axis=-1)
    soon_over: Mask = np.any(_from_each(is_over)[:, 1:], axis=-1)
    big &= (soon_big >= _PERSISTENT_STEPS) | soon_over[:, None]
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
        f"recorded steps as large: {int(big[:, at].sum()):,}",
        "lower learning_rate, add warmup_epochs, or set clip_grad_norm = 1.0",
        trace.named(blocks, at),
    )


def _from_each(rows: Mask) -> Mask:
    """Each row with the next ones, (rows, ..., _SOON); behind the end there is nothing."""
    behind = np.zeros((_SOON - 1, *rows.shape[1:]), dtype=bool)
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([rows, behind]), _SOON, axis=0)


def _first_norms(trace: TracedSteps) -> Array:
    """Each block's first norm above 0, (blocks,): a head that begins at zero gives none at first."""
    return np.array([next(iter(column[column > 0]), np.nan) for column in trace.norms.T])


def _vanishing(trace: TracedSteps) -> list[Finding]:
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


def _dead(trace: TracedSteps, except_for: set[str]) -> Iterable[Finding]:
    """Find what gets no gradient until the end: the last such block is the one that lets none through."""
    layers: dict[str, dict[str, int]] = {}
    for (block, layer), row in _dead_since(trace).items():
        layers.setdefault(block, {})[layer] = row
    rows = {
        at: min(layers[block].values())
        for at, block in enumerate(trace.blocks)
        if block in layers and block not in except_for
    }
    if rows:
        at = max(rows)
        block = trace.blocks[at]
        names = [name for name, row in layers[block].items() if row == rows[at]]
        is_whole = not trace.norms[-1, at]
        yield _silent(
            trace,
            rows,
            f"the gradient of {block if is_whole else f'{names[0]} in {block}'} is exactly zero",
            "its activations are dead (as of a ReLU below zero)",
            "a dead block does not recover: begin again with a lower learning_rate or with warmup_epochs",
        )
    absent = {at: _since(trace.is_absent[:, at]) for at in range(len(trace.blocks))}
    rows = {at: row for at, row in absent.items() if row is not None}
    if rows:
        yield _silent(
            trace,
            rows,
            f"the gradient of {trace.blocks[max(rows)]} is missing",
            "its output was detached, or it is not used",
            "look for detach() or no_grad() in the model, or name it in freeze if that is meant",
        )


def _silent(trace: TracedSteps, rows: dict[int, int], message: str, why: str, remedy: str) -> Finding:
    at = max(rows)
    row = min(rows.values()) if len(rows) == len(trace.blocks) else rows[at]
    epoch, step = trace.place(row)
    others = len(rows) - 1
    if len(rows) == len(trace.blocks):
        passing_on = "; so is every other block"
    else:
        passing_on = f"; so {_counted(others, 'block')} before it" if others else ""
    return Finding(
        "dead-block",
        "error",
        trace.blocks[at],
        epoch,
        step,
        f"{message} since epoch {epoch}, step {step}",
        0.0,
        None,
        f"at all {len(trace.steps) - row:,} recorded steps since; {why}{passing_on}",
        remedy,
        tuple(trace.blocks[other] for other in sorted(rows) if other != at),
    )


def _dead_since(trace: TracedSteps) -> dict[tuple[str, str], int]:
    """The layers that are dead until the end, long enough, and the rows since when."""
    since: dict[tuple[str, str], int] = {}
    dead = trace.dead_layers[-1]
    for row in reversed(range(len(trace.dead_layers))):
        dead = dead & trace.dead_layers[row]  # one that is dead now and then, as by chance, is another one
        if not dead:
            break
        since |= dict.fromkeys(dead, row)
    return {layer: row for layer, row in since.items() if _is_long(row, len(trace.dead_layers))}


def _since(silent: Mask) -> int | None:
    """The row from which on all are silent, if that is long enough."""
    loud = np.flatnonzero(~silent)
    since = int(loud[-1]) + 1 if len(loud) else 0
    return since if _is_long(since, len(silent)) else None


def _is_long(row: int, rows: int) -> bool:
    # A head that begins at zero gives no gradient at the first step.
    return rows - row >= (_PERSISTENT_STEPS if row == 0 else _DEAD_STEPS)


def _counted(count: int, noun: str) -> str:
    return f"is {count:,} {noun}" if count == 1 else f"are {count:,} {noun}s"


def _unstable(trace: TracedSteps) -> Iterable[Finding]:
    epochs = trace.rows_of_epochs()
    if len(epochs) < _PERSISTENT_EPOCHS:
        return
    usual = over_rows(np.nanmedian, trace.norms[epochs[0]])
    varied = np.stack([variation(trace.norms[rows]) for rows in epochs])
    largest = np.stack([over_rows(np.nanmax, trace.norms[rows]) for rows in epochs])
    with np.errstate(invalid="ignore"):
        wild = (varied > MOST_VARIATION) & (largest > MOST_RATIO * usual)
    latest: Mask = np.all(wild[-_PERSISTENT_EPOCHS:], axis=0)
    if not latest.any():
        return
    at = int(np.argmax(np.where(latest, varied[-1], -1)))
    quiet = np.flatnonzero(~wild[:, at])
    began = int(quiet[-1]) + 1 if len(quiet) else 0
    rows = epochs[began]
    row = int(rows[np.nanargmax(trace.norms[rows, at])])
    epoch, step = trace.place(row)
    value = float(varied[-1, at])
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
