"""Axes of values of either sign and of many magnitudes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pochi_cli.plots import norms, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_DECADES = 6
"""On each side of 0, down from the largest magnitude; what is smaller lies in the linear part."""
_MOST_TICKS = 4
"""On each side of 0."""
_LEAST, _LARGEST = -290, 290


def set_signed(axes: Axes, values: ArrayLike) -> int | None:
    """Make the vertical axis logarithmic on both sides of 0, and linear around it.

    The linear part reaches to the decade of the smallest magnitude, or six decades below the largest. (Left
    alone matplotlib would begin the decades at 2, and show gradients on a linear axis.)

    Returns:
        The exponent to which the axis is linear; `None` where no finite value differs from 0.
    """
    drawn = np.asarray(values, dtype=np.float64)
    drawn = drawn[np.isfinite(drawn) & (drawn != 0)]
    if not drawn.size:
        axes.set_ylim(-1, 1)
        axes.set_yticks([0])
        return None
    exponents = np.clip(np.log10(np.abs(drawn)), _LEAST, _LARGEST)
    top = math.ceil(exponents.max() + 1e-9)
    linear: int = max(math.floor(exponents.min()), top - _MOST_DECADES)
    room = 10.0 ** (top + 0.15 * (top - linear))  # for the marks at the edges
    low = -room if drawn.min() < 0 else -(10.0**linear)
    high = room if drawn.max() > 0 else 10.0**linear
    axes.set_ylim(low, high)  # first, for matplotlib's own limits could overflow
    # The labels of the linear part's ends and of 0 need room, the more the more decades there are.
    axes.set_yscale("symlog", linthresh=10.0**linear, linscale=0.3 + 0.15 * (top - linear))
    _set_ticks(axes, linear, top, low, high)
    return linear


def _set_ticks(axes: Axes, linear: int, top: int, low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    step = max(1, math.ceil((top - linear) / _MOST_TICKS))
    sides = [10.0**exponent for exponent in range(top, linear - 1, -step)]
    ticks = sorted([0.0, *sides, *(-tick for tick in sides)])
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(0, color=style.INK, linewidth=0.8, label="_zero")


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else ''}{norms.short(abs(value))}"
