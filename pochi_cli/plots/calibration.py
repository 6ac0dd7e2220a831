"""Whether a model is right as often as it is confident: the reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pochi_cli.inference.scores import Calibration
from pochi_cli.plots import norms, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (8.0, 7.0)  # inches
_HEIGHTS = (3, 1)
"""Of the two panels, to each other."""
_WIDE = 100
"""Where the largest bin has so many times the images of the least, their axis is logarithmic."""


def draw_calibration(calibration: Calibration) -> Figure:
    """Draw the accuracy in bins of confidence, and below the images in each; empty bins are gaps."""
    from matplotlib.ticker import PercentFormatter

    figure, (above, below) = style.new_panels(2, 1, _SIZE)
    grid = above.get_gridspec()
    assert grid is not None
    grid.set_height_ratios(_HEIGHTS)
    entries = _draw_reliability(above, calibration)
    _draw_histogram(below, calibration)
    for axis in (above.yaxis, below.xaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    images = norms.counted(int(calibration.counts.sum()), "image")
    style.set_header(above, f"Expected calibration error {100 * calibration.error:.1f} %, {images}", entries)
    return figure


def _draw_reliability(axes: Axes, calibration: Calibration) -> list[style.LegendEntry]:
    from matplotlib.lines import Line2D

    is_filled = calibration.counts > 0
    accuracy, confidence = calibration.accuracy[is_filled], calibration.confidence[is_filled]
    starts, widths = calibration.edges[:-1][is_filled], np.diff(calibration.edges)[is_filled]
    axes.bar(
        starts,
        accuracy,
        widths,
        align="edge",
        color=style.SKY,
        edgecolor="white",
        linewidth=0.8,
        label="accuracy",
    )
    axes.bar(
        starts,
        np.abs(confidence - accuracy),
        widths,
        bottom=np.minimum(accuracy, confidence),
        align="edge",
        facecolor="none",
        edgecolor=style.VERMILION,
        hatch="///",
        label="gap",
    )
    (diagonal,) = axes.plot(
        [0, 1], [0, 1], color=style.INK, linewidth=1.3, linestyle="--", label="calibrated"
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    style.set_label(axes, "Accuracy")
    squares = [
        Line2D([], [], linestyle="none", marker="s", markersize=9, color=color)
        for color in (style.SKY, style.VERMILION)
    ]
    squares[1].set_markerfacecolor("none")
    return [
        (squares[0], "accuracy"),
        (squares[1], "gap to the mean confidence"),
        (diagonal, "right as often as confident"),
    ]


def _draw_histogram(axes: Axes, calibration: Calibration) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    counts = calibration.counts
    axes.bar(
        calibration.edges[:-1],
        counts,
        np.diff(calibration.edges),
        align="edge",
        color=style.RATE_COLOR,
        edgecolor="white",
        linewidth=0.8,
        label="images",
    )
    if counts.max() > _WIDE * counts[counts > 0].min():
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)  # so that a bin with one image is seen
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    style.set_label(axes, "Images")
    axes.set_xlabel("Confidence", fontsize=style.LABEL_SIZE, color=style.INK)
