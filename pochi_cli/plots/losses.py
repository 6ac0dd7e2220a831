"""Losses over the epochs, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pochi_cli.plots import norms, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST, _LARGEST = 1e-300, 1e300
"""Beyond, margins and ticks would overflow."""
_NARROW = 0.7
"""Decades below which the ticks of a logarithmic axis are as far apart as those of a linear one."""
_LEAST_SPAN = 0.04
"""Decades that an axis shows at least."""
_DENSE = 10 * style.MARKED_EPOCHS


class LossCurve(NamedTuple):
    """A loss over the epochs.

    Attributes:
        name: What the legend calls it; empty for none.
        epochs: The epochs.
        values: Of each; `None` where it was not measured.
        color: Of the line.
        dashes: Its style.
        marker: Of single epochs.
        width: Of the line.
    """

    name: str
    epochs: Sequence[int]
    values: Sequence[float | None]
    color: str
    dashes: str = "-"
    marker: str = "o"
    width: float = 1.8


def draw_losses(axes: Axes, curves: Sequence[LossCurve]) -> list[style.LegendEntry]:
    """Draw losses on a logarithmic axis; without a value above 0 the axis is linear, and says so.

    What has no place on the axis is marked at its edges: 0 and below at the bottom, what is not finite at the
    top.

    Returns:
        Entries for the legend.
    """
    style.set_epoch_axis(axes, _span([epoch for curve in curves for epoch in curve.epochs]))
    known = [value for curve in curves for value in curve.values if value is not None]
    finite = [value for value in known if abs(value) < _LARGEST]  # false for NaN
    is_log = any(value > 0 for value in finite)
    entries = []
    for curve in curves:
        shown = [_place(value, is_log=is_log) for value in curve.values]
        (line,) = axes.plot(
            curve.epochs,
            shown,
            color=curve.color,
            linestyle=curve.dashes,
            linewidth=min(curve.width, 1.2) if len(shown) > _DENSE else curve.width,
            marker=curve.marker,
            markersize=4,
            markevery=style.marked([not math.isnan(value) for value in shown]),
            label=curve.name or "_",
        )
        if curve.name:
            entries.append((line, curve.name))
    if not finite:
        style.show_message(axes, "no finite values" if known else "not measured")
    elif is_log:
        set_log_scale(axes, [value for value in finite if value > 0])
    return entries + _mark_absent(axes, curves, is_log=is_log)


def _span(epochs: Sequence[int]) -> list[int]:
    return [min(epochs), max(epochs)] if epochs else []


def _place(value: float | None, *, is_log: bool) -> float:
    if value is None or not abs(value) < _LARGEST or (is_log and value <= 0):
        return math.nan
    return value


def _mark_absent(axes: Axes, curves: Sequence[LossCurve], *, is_log: bool) -> list[style.LegendEntry]:
    from matplotlib.lines import Line2D

    low = lost = 0
    lowest = 0.0
    for curve in curves:
        pairs = [
            (epoch, value)
            for epoch, value in zip(curve.epochs, curve.values, strict=True)
            if value is not None
        ]
        beyond = [epoch for epoch, value in pairs if not abs(value) < _LARGEST]
        below = [epoch for epoch, value in pairs if is_log and value <= 0 and abs(value) < _LARGEST]
        lowest = min([lowest, *(value for _, value in pairs if abs(value) < _LARGEST)])
        norms.mark_edge(axes, below, "bottom", curve.color)
        norms.mark_edge(axes, beyond, "top", curve.color)
        low, lost = low + len(below), lost + len(beyond)

    def entry(marker: str, text: str) -> style.LegendEntry:
        return Line2D([], [], linestyle="none", marker=marker, markersize=5, color=style.INK), text

    name = "0 or below" if lowest < 0 else "0"
    entries = []
    if low:
        entries.append(entry("v", f"{name}: {norms.counted(low, 'value')} at the bottom"))
    if lost:
        entries.append(entry("x", f"not finite: {norms.counted(lost, 'value')} at the top"))
    if not is_log and any(value is not None for curve in curves for value in curve.values):
        entries.append(entry("", "linear: no value above 0"))
    return entries


def set_log_scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the vertical axis logarithmic, and fit it to values above 0."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    low, high = (math.log10(min(max(value, _LEAST), _LARGEST)) for value in (min(values), max(values)))
    widening = max(0.0, (_LEAST_SPAN - (high - low)) / 2)
    margin = 0.06 * (high - low + 2 * widening)
    low, high = low - widening - margin, high + widening + margin
    # In this order, for matplotlib's own limits would overflow.
    axes.set_ylim(10.0**low, 10.0**high)
    axes.set_yscale("log")
    if high - low > 2 * _NARROW:
        norms.set_log_ticks(axes.yaxis, low, high)
    elif high - low > _NARROW:
        ticks = (digit * 10.0**exponent for exponent in _exponents(low, high) for digit in (1, 2, 3, 5, 7))
        axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if 10**low <= tick <= 10**high]))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axes.yaxis.set_minor_locator(NullLocator())


def _exponents(low: float, high: float) -> range:
    return range(math.floor(low), math.ceil(high) + 1)


def _number(value: float) -> str:
    return f"{value:.5g}" if 1e4 <= value < 1e5 else norms.short(value)
