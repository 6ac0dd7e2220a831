"""Axes of gradient norms, and marks for the norms that have no place on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pochi_cli.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

NORM = "Gradient norm"

_FEW_DECADES = 2.5
_MAX_TICKS = 10

# Beyond, the limits and ticks of an axis would overflow.
_LEAST, _LARGEST = 1e-300, 1e300


def set_log_norms(axes: Axes, which: Literal["x", "y"], norms: ArrayLike) -> bool:
    """Make an axis logarithmic, over a decade at least; without a norm above 0 say that there is none.

    Returns:
        Whether there is any.
    """
    limits = log_limits(norms)
    if limits is None:
        style.show_message(axes, "no finite norm above 0")
        if which == "x":
            axes.set_xticks([])
        return False
    low, high = limits
    margin = 0.05 * (high - low)  # for the marks at the edges
    # In this order, for matplotlib's own limits would overflow.
    axes.set(**{f"{which}lim": (_power(low - margin), _power(high + margin))})
    axes.set(**{f"{which}scale": "log"})
    set_log_ticks(axes.xaxis if which == "x" else axes.yaxis, low - margin, high + margin)
    return True


def set_linear_norms(axes: Axes, norms: NDArray[np.float64]) -> None:
    """Let the horizontal axis begin at 0 and hold all norms; without a finite one say that there is none."""
    if np.isnan(norms).all():
        style.show_message(axes, "no finite norm")
        axes.set_xticks([])
    elif (largest := np.nanmax(norms)) > 0:
        axes.set_xlim(0, 1.05 * np.clip(largest, _LEAST, _LARGEST))
    else:
        axes.set_xlim(0, 1)


def _power(exponent: float) -> float:
    return float(10.0 ** min(max(exponent, -307.0), 307.0))


def set_log_ticks(axis: Axis, low: float, high: float) -> None:
    """Give a logarithmic axis between two exponents plain numbers; of few decades also 2 and 5 of each."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    digits = (1, 2, 5) if high - low <= _FEW_DECADES else (1,)
    step = max(1, math.ceil((high - low) / _MAX_TICKS))
    exponents = range(math.floor(low / step) * step, math.ceil(high) + 1, step)
    ticks = [digit * _power(exponent) for exponent in exponents for digit in digits]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= math.log10(tick) <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())


def short(value: float) -> str:
    """Write a number as `0.002` or `2e-7`."""
    if 1e-4 < value < 1e5:
        return f"{value:.4g}"
    digits, _, exponent = f"{value:.4g}".partition("e")
    return f"{digits}e{int(exponent)}" if exponent else digits


def log_limits(norms: ArrayLike) -> tuple[float, float] | None:
    """Compute the decimal logarithms of the least and the largest norm above 0, a decade apart at least."""
    drawn = np.asarray(norms, dtype=np.float64)
    drawn = drawn[drawn > 0]  # false for NaN
    if not drawn.size:
        return None
    low, high = np.log10(np.clip([drawn.min(), drawn.max()], _LEAST, _LARGEST)).tolist()
    widening = max(0.0, (1 - (high - low)) / 2)
    return low - widening, high + widening


def mark_edge(
    axes: Axes, positions: ArrayLike, edge: Literal["bottom", "top", "left", "right"], color: str
) -> None:
    """Mark, at an edge of the axes, what has no place on a logarithmic axis.

    Args:
        axes: Where.
        positions: Places along the edge; there may be none.
        edge: Bottom or left for norms of 0, top or right for those that are not finite.
        color: Of the layer or epoch.
    """
    along = np.asarray(positions)
    if not along.size:
        return
    across = np.full(along.shape, 0.015 if edge in ("bottom", "left") else 0.985)
    is_upright = edge in ("left", "right")
    axes.plot(
        *((across, along) if is_upright else (along, across)),
        transform=axes.get_yaxis_transform() if is_upright else axes.get_xaxis_transform(),
        linestyle="none",
        marker=_EDGE_MARKERS[edge],
        markersize=5,
        color=color,
        zorder=4,
        label=f"_{edge}",
    )


_EDGE_MARKERS = {"bottom": "v", "left": "<", "top": "x", "right": "x"}


@dataclass(frozen=True)
class Absent:
    """How many norms have no place on a logarithmic axis."""

    zero: int
    not_finite: int
    missing: int


def count_absent(values: NDArray[np.float64], not_finite: NDArray[np.bool_]) -> Absent:
    """Count what a picture of these norms cannot show."""
    lost = int(not_finite.sum())
    return Absent(int((values == 0).sum()), lost, int(np.isnan(values).sum()) - lost)


def absent_entries(
    absent: Absent, edges: tuple[str, str], of: str = "value", lost: str = "not finite"
) -> list[style.LegendEntry]:
    """Make the entries of a legend that tell it.

    Args:
        absent: The numbers.
        edges: Where norms of 0 are marked, and those that are not finite: names of edges; empty where not.
        of: What was counted.
        lost: What is said of those that are not finite.
    """
    from matplotlib.lines import Line2D

    entries = []
    told = (
        ("0", absent.zero if edges[0] else 0, edges[0]),
        (lost, absent.not_finite, edges[1]),
        ("not recorded", absent.missing, ""),
    )
    for text, count, edge in told:
        if count:
            handle = Line2D([], [], linestyle="none", marker=_EDGE_MARKERS.get(edge, ""), color=style.INK)
            place = f" at the {edge}" if edge else ""
            entries.append((handle, f"{text}: {counted(count, of)}{place}"))
    return entries


def counted(count: int, of: str) -> str:
    """Write a number with what it counts: `1 layer`, `2 layers`."""
    return f"{count:,} {of}" if count == 1 else f"{count:,} {of}s"
