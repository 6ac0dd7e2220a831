"""Pictures of a gradient trace over the layers: profiles at chosen epochs, and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pochi_cli.plots import layers, norms, style
from pochi_cli.runs.gradient_statistics import Extremes, maxima, minima, variation
from pochi_cli.runs.gradient_trace import GradientTrace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_SNAPSHOTS = 6
_STEM_COLOR = "#BBBBBB"
_EDGES = ("left", "right")


def draw_snapshots(trace: GradientTrace, *, use_log_scale: bool) -> Figure:
    """Draw the norms of the layers, one line for each of some epochs: first, last, and evenly between.

    Args:
        trace: The trace.
        use_log_scale: Whether the axis of the norms is logarithmic; norms of 0 are then marked at the left.
    """
    rows = _snapshot_rows(len(trace.epochs))
    values, not_finite = trace.values[rows], trace.not_finite[rows]
    figure, axes = _new_layer_axes(trace)
    colors = layers.ramp(len(rows))
    lines = [
        _plot_profile(axes, np.where(profile > 0, profile, np.nan) if use_log_scale else profile, color)
        for profile, color in zip(values, colors, strict=True)
    ]
    if use_log_scale:
        norms.set_log_norms(axes, "x", values)
    else:
        norms.set_linear_norms(axes, values)
    for profile, lost, color in zip(values, not_finite, colors, strict=True):
        if use_log_scale:
            norms.mark_edge(axes, np.flatnonzero(profile == 0), "left", color)
        norms.mark_edge(axes, np.flatnonzero(lost), "right", color)
    absent = norms.count_absent(values, not_finite)
    edges = ("left" if use_log_scale else "", "right")
    title = "Gradient norm over the layers" + ("" if use_log_scale else ", linear")
    _finish(axes, trace, title, norms.NORM, norms.absent_entries(absent, edges))
    layers.add_legend(figure, lines, [f"epoch {trace.epochs[row]}" for row in rows])
    return figure


def _snapshot_rows(recorded: int) -> list[int]:
    return sorted({round(row) for row in np.linspace(0, recorded - 1, min(_SNAPSHOTS, recorded))})


def draw_initial_vs_final(trace: GradientTrace) -> Figure:
    """Draw the norms of the first and the last epoch, joined layer by layer, on a logarithmic axis."""
    figure, axes = _new_layer_axes(trace)
    rows = np.arange(len(trace.names))
    first, last = trace.values[0], trace.values[-1]
    is_one = len(trace.epochs) == 1
    both = (first > 0) & (last > 0)
    axes.hlines(rows[both], first[both], last[both], color=_STEM_COLOR, linewidth=1.5)
    entries = [(_plot_dots(axes, first, style.BLUE, "o", "first"), f"first epoch ({trace.epochs[0]})")]
    if is_one:
        entries = [(entries[0][0], f"epoch {trace.epochs[0]}, both the first and the last")]
    else:
        dots = _plot_dots(axes, last, style.VERMILION, "s", "last")
        entries.append((dots, f"last epoch ({trace.epochs[-1]})"))
    ends = [0] if is_one else [0, -1]
    values, not_finite = trace.values[ends], trace.not_finite[ends]
    norms.set_log_norms(axes, "x", values)
    for profile, lost, color in zip(values, not_finite, (style.BLUE, style.VERMILION), strict=False):
        norms.mark_edge(axes, np.flatnonzero(profile == 0), "left", color)
        norms.mark_edge(axes, np.flatnonzero(lost), "right", color)
    entries += norms.absent_entries(norms.count_absent(values, not_finite), _EDGES)
    _finish(axes, trace, "Gradient norm, first against last epoch", norms.NORM, entries)
    return figure


def draw_stability(trace: GradientTrace) -> Figure:
    """Draw how much the norm of each layer varies over the epochs: standard deviation over mean."""
    figure, axes = _new_layer_axes(trace)
    values = variation(trace)
    is_known = ~np.isnan(values)
    axes.barh(np.arange(len(values))[is_known], values[is_known], height=0.7, color=style.BLUE)
    entries: list[style.LegendEntry] = []
    if not is_known.any():
        few = len(trace.epochs) == 1
        style.show_message(axes, "one epoch has no variation" if few else "no layer has two finite norms")
        axes.set_xticks([])
    elif unknown := int((~is_known).sum()):
        why = "without bar: fewer than two finite norms, or only zeros"
        entries = [(_no_line(), f"{norms.counted(unknown, 'layer')} {why}")]
    left_out = norms.count_absent(trace.values, trace.not_finite)
    entries += norms.absent_entries(left_out, ("", ""))
    axes.set_xlim(0, 1.05 * np.nanmax(values, initial=0.0) or 1)
    _finish(axes, trace, "Variation of the gradient norm", "Standard deviation / mean, over epochs", entries)
    return figure


def draw_extremes(trace: GradientTrace, which: Literal["max", "min"]) -> Figure:
    """Draw the largest or the smallest norm of each layer, coloured by its epoch, on a logarithmic axis."""
    extremes = maxima(trace) if which == "max" else minima(trace)
    figure, axes = _new_layer_axes(trace)
    has_axis = norms.set_log_norms(axes, "x", extremes.values)
    is_zero, is_lost = extremes.values == 0, trace.not_finite.any(axis=0)
    norms.mark_edge(axes, np.flatnonzero(is_zero), "left", style.BLACK)
    norms.mark_edge(axes, np.flatnonzero(is_lost), "right", style.BLACK)
    kind = "maximum" if which == "max" else "minimum"
    if has_axis:
        _plot_extremes(figure, axes, extremes, trace.epochs, f"Epoch of the {kind}")
    unseen = np.isnan(extremes.values) & ~is_lost
    absent = norms.Absent(int(is_zero.sum()), int(is_lost.sum()), int(unseen.sum()))
    entries = norms.absent_entries(absent, _EDGES, "layer", "not finite in some epoch")
    _finish(axes, trace, f"Gradient norm, {kind} over the epochs", norms.NORM, entries)
    return figure


def _plot_extremes(
    figure: Figure, axes: Axes, extremes: Extremes, recorded: tuple[int, ...], epoch_label: str
) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.ticker import MaxNLocator

    rows = np.flatnonzero(extremes.values > 0)
    values = extremes.values[rows]
    axes.hlines(rows, axes.get_xlim()[0], values, color=_STEM_COLOR, linewidth=1)
    dots = axes.scatter(
        values,
        rows,
        c=extremes.epochs[rows],
        cmap=ListedColormap(layers.ramp(256)),
        vmin=recorded[0],
        vmax=recorded[-1],
        s=_dot_size(len(extremes.values)) ** 2,
        zorder=3,
    )
    if len(recorded) > 1:
        bar = layers.add_color_bar(figure, axes, dots)
        bar.locator = MaxNLocator(nbins=8, integer=True, min_n_ticks=1)
        style.set_label(bar.ax, epoch_label)


def _new_layer_axes(trace: GradientTrace) -> tuple[Figure, Axes]:
    return style.new_axes(layers.layer_figure_size(len(trace.names)))


def _finish(
    axes: Axes, trace: GradientTrace, title: str, label: str, entries: Sequence[style.LegendEntry]
) -> None:
    # At the end, for a message in empty axes takes the ticks away.
    layers.set_layer_axis(axes, trace.names)
    axes.set_xlabel(label, fontsize=style.LABEL_SIZE, color=style.INK)
    style.set_header(axes, title, entries)


def _plot_profile(axes: Axes, values: NDArray[np.float64], color: str) -> Line2D:
    (line,) = axes.plot(
        values,
        np.arange(len(values)),
        color=color,
        linewidth=1.5,
        marker="o",
        markersize=_dot_size(len(values)) - 2,
    )
    return line


def _plot_dots(axes: Axes, values: NDArray[np.float64], color: str, marker: str, label: str) -> Line2D:
    (dots,) = axes.plot(
        np.where(values > 0, values, np.nan),
        np.arange(len(values)),
        linestyle="none",
        color=color,
        marker=marker,
        markersize=_dot_size(len(values)),
        label=label,
    )
    return dots


def _dot_size(count: int) -> float:
    """Choose a diameter in points that leaves the rows of so many layers apart."""
    return 7 if count <= 24 else 5 if count <= 80 else 4


def _no_line() -> Line2D:
    """Make what a remark in a legend has instead of a line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none")
