"""The picture of a network's weights: how often which value, and how wide they are layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.model_weights import Histogram, ParameterStatistics, WeightStatistics
from pochi_cli.plots import layers, norms, signed, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Array = NDArray[np.float64]

_SIZE = (13.0, 11.0)  # inches
_TITLE_CHARACTERS = 96
_LEAST_COUNT = 0.5
_WIDE = [0, 1, 2, 4, 5, 6]
"""The ends of the bands, without the medians: these decide on the axis."""


def draw_parameter_distribution(weights: WeightStatistics, title: str) -> Figure:
    """Draw the histogram of all weights, and bands of quantiles over the layers' weights.

    The bands leave out parameters of one dimension, such as biases and the factors of norms, which lie near
    0 or 1 by design; where there are no others they are shown.
    """
    style.add_fonts(one.name for one in weights.parameters)
    figure, (counts, bands) = style.new_panels(2, 1, _SIZE, share=False)
    figure.suptitle(style.drawable(title, _TITLE_CHARACTERS), fontsize=14, color=style.INK)
    _draw_histogram(counts, weights)
    matrices = [one for one in weights.parameters if len(one.shape) > 1]
    if matrices:
        _draw_bands(bands, matrices, "Weights of two or more dimensions, layer by layer")
    else:
        _draw_bands(bands, weights.parameters, "Parameters, layer by layer")
    return figure


def _draw_histogram(axes: Axes, weights: WeightStatistics) -> None:
    axes.set_xlabel("Value", fontsize=style.LABEL_SIZE, color=style.INK)
    style.set_label(axes, "Parameters in a bin (logarithmic)")
    if weights.histogram is None:
        style.show_message(axes, "no finite parameter")
        style.set_header(axes, "Distribution of all parameters", [])
        return
    histogram: Histogram = weights.histogram
    widths = np.diff(histogram.edges)
    axes.bar(histogram.edges[:-1], histogram.counts, widths, align="edge", color=style.BLUE, linewidth=0)
    axes.set_yscale("log")
    axes.set_ylim(_LEAST_COUNT, 2 * max(5.0, float(histogram.counts.max())))
    axes.set_xlim(histogram.edges[0], histogram.edges[-1])
    axes.grid(visible=False, axis="x")
    zero = axes.axvline(0, color=style.VERMILION, linewidth=1.2, linestyle="--", label="_zero")
    lost = f", {weights.non_finite:,} more are not finite" if weights.non_finite else ""
    told = f"{weights.entries - weights.non_finite:,} values{lost}"
    (bars,) = axes.plot([], [], color=style.BLUE, linewidth=6, label="_bars")
    entries = [(bars, told), (zero, "0")]
    style.set_header(axes, "Distribution of all parameters", entries)


def _draw_bands(axes: Axes, parameters: Sequence[ParameterStatistics], title: str) -> None:
    if not parameters:
        style.show_message(axes, "there is none")
        style.set_header(axes, title, [])
        return
    places = np.arange(len(parameters), dtype=np.float64)
    is_lost = np.array([one.non_finite > 0 for one in parameters], dtype=np.bool_)
    values = np.array([(one.min, *one.quantiles, one.max) for one in parameters], dtype=np.float64)
    least, low, lower, middle, upper, high, largest = values.T
    entries = [
        (_band(axes, places, least, largest, "#D5DEE5", 0.9), "least to largest"),
        (_band(axes, places, low, high, style.SKY, 0.9), "1 % to 99 %"),
        (_band(axes, places, lower, upper, style.BLUE, 0.9), "25 % to 75 %"),
    ]
    size = 4 if len(parameters) <= 80 else 2.5
    (medians,) = axes.plot(
        places, middle, linestyle="none", marker="o", markersize=size, color=style.BLACK, label="median"
    )
    entries.append((medians, "median"))
    linear = signed.set_signed(axes, np.concatenate([values[:, _WIDE].ravel(), -values[:, _WIDE].ravel()]))
    names = [one.name for one in parameters]
    layers.set_layer_columns(axes, names, layers.distinct_labels(names))
    norms.mark_edge(axes, np.flatnonzero(is_lost), "top", style.BLACK)
    absent = norms.Absent(0, int(is_lost.sum()), 0)
    entries += norms.absent_entries(absent, ("bottom", "top"), "layer")
    style.set_label(
        axes, "Value" + ("" if linear is None else f" (axis linear within ±{norms.short(10.0**linear)})")
    )
    style.set_header(axes, title, entries)


def _band(axes: Axes, places: Array, low: Array, high: Array, color: str, height: float) -> Line2D:
    axes.bar(places, high - low, width=height, bottom=low, color=color, linewidth=0)
    (line,) = axes.plot([], [], color=color, linewidth=6, label="_band")
    return line
