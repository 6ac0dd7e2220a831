"""What the six panels on the course of a training show. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pochi_cli.config.recalls import is_recall
from pochi_cli.inspection.monitored_steps import Array, MonitoredSteps
from pochi_cli.runs.epoch_text import metric_name
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.history import History
from pochi_cli.runs.monitor_record import MonitorEpoch

USUAL_UPDATE = 1e-3
"""Update ratio that training usually settles around."""

_MOST_POINTS = 3000
"""Of a curve, about; of more the least and the largest of each stretch are drawn."""
_MOST_CURVES = 6
_NO_EPOCH = "no finished epoch"


@dataclass(frozen=True, eq=False)
class Curve:
    """A quantity over the training.

    Attributes:
        name: As in the legend.
        positions: Epochs done, float64 (n,), rising.
        values: float64 (n,); NaN where it was not measured.
        is_step: Whether it has a value for every step rather than for every epoch.
        lost: Positions of what was measured and is not finite.
    """

    name: str
    positions: Array
    values: Array
    is_step: bool = False
    lost: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Panel:
    """A part of the figure.

    Attributes:
        title: Its heading.
        label: Of the vertical axis, with the unit.
        curves: What was measured; none, where nothing was.
        missing: Why a quantity is not there; `None` where all are.
        best: Position and value of the epoch that counts, with its text.
        is_ratio: Whether it is the one with the line of usual update ratios.
    """

    title: str
    label: str
    curves: tuple[Curve, ...]
    missing: str | None = None
    best: tuple[float, float, str] | None = None
    is_ratio: bool = False


_RATE = "learning_rate"


def make_panels(history: History, epochs: Sequence[MonitorEpoch], is_monitored: bool) -> tuple[Panel, ...]:
    """Put together what was recorded.

    Args:
        history: The finished epochs; there may be none.
        epochs: What the monitor saw; nothing where it was off.
        is_monitored: Whether it was on.
    """
    steps = MonitoredSteps.of(epochs) if epochs else None
    off = (
        None
        if steps
        else ("no recorded step" if is_monitored else "the monitor was off ([monitor] enabled = false)")
    )
    return (
        *(_encoder_panels(history) if history.embedding else _classifier_panels(history)),
        _rates(history, epochs),
        _of_steps(steps, "Gradient norm", "L2 norm, before clipping", "grad_norms", off),
        _update_ratios(steps, off),
        _of_steps(steps, "Batch loss", "Mean loss of a step", "losses", off),
    )


def _classifier_panels(history: History) -> tuple[Panel, Panel]:
    return (
        _metrics(history, "Loss", "Loss", "train_loss", "val_loss", "{:.4g}"),
        _metrics(history, "Accuracy", "Accuracy (%)", "train_accuracy", "val_accuracy", "{:.2f} %"),
    )


def _encoder_panels(history: History) -> tuple[Panel, Panel]:
    losses = _metrics(history, "Total loss", "Total loss", "total_loss", "val_total_loss", "{:.4g}")
    recalls = [name for name in history.epochs[0].metrics if is_recall(name)]
    measured = [record for record in history.embedding if record.has_recall]
    curves = tuple(_epochs(metric_name(name), measured, name) for name in recalls)
    missing = None if measured else "no recall was measured"
    return losses, Panel("Recall", "Share of neighbours kept", curves if measured else (), missing)


def _metrics(history: History, title: str, label: str, train: str, val: str, form: str) -> Panel:
    curves = [_epochs("training", history.epochs, train), _epochs("validation", history.epochs, val)]
    measured = tuple(curve for curve in curves if curve.lost or not np.isnan(curve.values).all())
    missing = _NO_EPOCH if not len(history) else "no validation data" if len(measured) < 2 else None
    return Panel(title, label, measured, missing, _best(history, val, form))


def _epochs(name: str, epochs: Iterable[EpochRecord], quantity: str) -> Curve:
    found = [
        (record.epoch, record.learning_rate if quantity == _RATE else record.metrics[quantity])
        for record in epochs
    ]
    values = [np.nan if value is None else value for _, value in found]
    lost = tuple(epoch for epoch, value in found if value is not None and not np.isfinite(value))
    return Curve(name, _array([epoch for epoch, _ in found]), _array(values), lost=lost)


def _best(history: History, metric: str, form: str) -> tuple[float, float, str] | None:
    """The best value; on a tie the earlier epoch, as for the best model."""
    best = history.best(metric)
    if best is None:
        return None
    value = best.metrics[metric]
    assert value is not None
    return float(best.epoch), value, f"best: {form.format(value)} in epoch {best.epoch}"


def _rates(history: History, epochs: Sequence[MonitorEpoch]) -> Panel:
    title, label = "Learning rate", "Learning rate"
    if not len(history):  # what was seen of an epoch that failed has one, too
        rates = Curve(
            "learning rate",
            _array([epoch.epoch for epoch in epochs]),
            _array([epoch.learning_rate for epoch in epochs]),
        )
        return Panel(title, label, (rates,) if epochs else (), None if epochs else _NO_EPOCH)
    patterns = history.epochs[0].layer_rates
    positions = _array([record.epoch for record in history.epochs])
    rows = _array([list(record.layer_rates.values()) for record in history.epochs])
    base = _epochs("learning rate", history.epochs, _RATE)
    if not patterns:
        curves = [base]
    elif len(patterns) < _MOST_CURVES:
        curves = [base, *(Curve(name, positions, rows[:, at]) for at, name in enumerate(patterns))]
    else:
        curves = [
            base,
            Curve(f"highest of {len(patterns)} layer rates", positions, rows.max(axis=1)),
            Curve("lowest of them", positions, rows.min(axis=1)),
        ]
    return Panel(title, label, tuple(curves))


def _of_steps(steps: MonitoredSteps | None, title: str, label: str, quantity: str, off: str | None) -> Panel:
    if steps is None:
        return Panel(title, label, (), off)
    values: Array = getattr(steps, quantity)
    rows = steps.rows_of_epochs()
    medians = [float(np.median(finite)) if (finite := _finite(values[at])).size else np.nan for at in rows]
    epochs = steps.epochs[[at[0] for at in rows]]
    # Of its middle: it belongs to the epoch as a whole.
    middles = _array([steps.positions[at].mean() for at in rows])
    curves = [
        Curve(
            "every step",
            *_decimated(*_with_gaps(steps.epochs, steps.positions, values)),
            is_step=True,
            lost=tuple(steps.positions[~np.isfinite(values)].tolist()),
        ),
        Curve("median of an epoch", *_with_gaps(epochs, middles, _array(medians))),
    ]
    return Panel(title, label, tuple(curves))


def _finite(values: Array) -> Array:
    return values[np.isfinite(values)]


def _with_gaps(epochs: NDArray[np.int64], positions: Array, values: Array) -> tuple[Array, Array]:
    """Put a NaN between epochs of which one in between was not recorded; all are (n,)."""
    breaks = np.flatnonzero(np.diff(epochs) > 1) + 1
    between = (positions[breaks - 1] + positions[breaks]) / 2
    return np.insert(positions, breaks, between), np.insert(values, breaks, np.nan)


def _decimated(positions: Array, values: Array) -> tuple[Array, Array]:
    """Keep the least and the largest of each stretch, and all that is not finite: no spike is lost."""
    stretch = -(-2 * len(values) // _MOST_POINTS)
    if stretch <= 2:
        return positions, values
    kept = set(np.flatnonzero(~np.isfinite(values)).tolist()) | {0, len(values) - 1}
    for start in range(0, len(values), stretch):
        part = values[start : start + stretch]
        if np.isfinite(part).any():
            kept.add(start + int(np.argmin(np.where(np.isfinite(part), part, np.inf))))
            kept.add(start + int(np.argmax(np.where(np.isfinite(part), part, -np.inf))))
    at = sorted(kept)
    return positions[at], values[at]


def _update_ratios(steps: MonitoredSteps | None, off: str | None) -> Panel:
    title, label = "Update ratio", "Change of the weights / weights"
    if steps is None or not steps.blocks:
        return Panel(title, label, (), off or "no measured update", is_ratio=True)
    ratios = steps.update_ratios
    if len(steps.blocks) <= _MOST_CURVES:
        named = dict(zip(steps.blocks, ratios.T, strict=True))
    else:
        measured = ~np.isnan(ratios).all(axis=1)
        quantiles = np.full((3, len(ratios)), np.nan)
        quantiles[:, measured] = np.nanquantile(ratios[measured], (1, 0.5, 0), axis=1)
        named = dict(
            zip((f"largest of {len(steps.blocks)} blocks", "median", "least"), quantiles, strict=True)
        )
    epochs = steps.epochs[steps.update_rows]
    curves = tuple(
        Curve(name, *_decimated(*_with_gaps(epochs, steps.update_positions, values)), is_step=True)
        for name, values in named.items()
    )
    return Panel(title, label, curves, is_ratio=True)


def _array(values: ArrayLike) -> Array:
    return np.array(values, dtype=np.float64)
