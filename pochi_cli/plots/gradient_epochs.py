"""Pictures of a gradient trace over the epochs: lines and a map of colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from pochi_cli.plots import layers, norms, style
from pochi_cli.runs.gradient_trace import GradientTrace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Half = Literal["early", "late"]

_MAX_WIDTH = 16.0  # inches
_EPOCHS_PER_INCH = 60
_MAX_CELLS = 1500
"""Along an edge of a map: up to here each has a pixel of its own."""
_ZERO_COLOR = "#A8A8A8"
_NOT_FINITE_COLOR = style.VERMILION
_MISSING_COLOR = "#FFFFFF"


def draw_timeline(trace: GradientTrace, half: Half | None = None) -> Figure:
    """Draw the norm of each layer over the epochs, on a logarithmic axis.

    Norms of 0 are marked at the bottom, those that are not finite at the top; both interrupt the line.

    Args:
        trace: The trace.
        half: The first half of the layers, with the middle one of an odd number, or the second half; both
            halves of a trace of one layer are that layer. All layers by default.
    """
    count = len(trace.names)
    shown = _half(count, half)
    values, not_finite = trace.values[:, shown], trace.not_finite[:, shown]
    # A few layers keep their colours in all three pictures; many need the whole ramp.
    looks = (
        layers.layer_styles(count)[shown]
        if count <= layers.MAX_LEGEND
        else layers.layer_styles(len(values.T))
    )
    figure, axes = style.new_axes()
    lines = [
        axes.plot(
            trace.epochs,
            np.where(column > 0, column, np.nan),
            color=color,
            linestyle=dashes,
            linewidth=1.8 if len(looks) <= layers.MAX_LEGEND and len(column) <= 300 else 1.0,
            marker="o",
            markersize=4,
            markevery=style.marked(column > 0),
            label=name,
        )[0]
        for name, column, (color, dashes) in zip(trace.names[shown], values.T, looks, strict=True)
    ]
    norms.set_log_norms(axes, "y", values)
    epochs = np.array(trace.epochs)
    for zero, lost, (color, _) in zip(values.T == 0, not_finite.T, looks, strict=True):
        norms.mark_edge(axes, epochs[zero], "bottom", color)
        norms.mark_edge(axes, epochs[lost], "top", color)
    style.set_epoch_axis(axes, trace.epochs)
    style.set_label(axes, norms.NORM)
    absent = norms.count_absent(values, not_finite)
    style.set_header(axes, _timeline_title(count, half), norms.absent_entries(absent, ("bottom", "top")))
    layers.name_layers(figure, axes, lines, layers.layer_labels(trace.names)[shown])
    return figure


def _half(count: int, half: Half | None) -> slice:
    middle = (count + 1) // 2
    if half is None or count == 1:
        return slice(0, count)
    return slice(0, middle) if half == "early" else slice(middle, count)


def _timeline_title(count: int, half: Half | None) -> str:
    if half is None:
        return f"Gradient norm of {'every layer' if count > 1 else 'the only layer'}"
    if count == 1:
        return f"Gradient norm, {half} layers: the trace has only one layer"
    shown = _half(count, half)
    return f"Gradient norm, {half} layers ({shown.start + 1} to {shown.stop} of {count})"


def draw_heatmap(trace: GradientTrace) -> Figure:
    """Draw the norm of each layer in each epoch as a colour, on a logarithmic scale.

    Norms of 0, those that are not finite and cells without one have colours of their own, off the scale.
    """
    count, recorded = len(trace.names), len(trace.epochs)
    width = min(max(style.FIGURE_SIZE[0], recorded / _EPOCHS_PER_INCH), _MAX_WIDTH)
    figure, axes = style.new_axes(layers.layer_figure_size(count, width))
    axes.grid(visible=False)
    _add_map(figure, axes, trace)
    layers.set_layer_axis(axes, trace.names)
    axes.set_ylim(count - 0.5, -0.5)
    _set_recorded_epochs(axes, trace.epochs)
    absent = norms.count_absent(trace.values, trace.not_finite)
    style.set_header(axes, "Gradient norm by layer and epoch", _map_entries(absent))
    return figure


def _add_map(figure: Figure, axes: Axes, trace: GradientTrace) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    low, high = norms.log_limits(trace.values) or (0.0, 1.0)
    colors = colormaps["viridis"].with_extremes(under=_ZERO_COLOR, over=_NOT_FINITE_COLOR, bad=_MISSING_COLOR)
    drawn = np.clip(trace.values.T, 10**low, 10**high)
    places = np.select([trace.values.T == 0, trace.not_finite.T], [low - 1, high + 1], np.log10(drawn))
    image = axes.imshow(
        places,
        cmap=colors,
        norm=Normalize(low - 1e-9, high + 1e-9),  # or rounding could put the least norm among the zeros
        aspect="auto",
        # More cells than pixels are blended, as colours: numbers off the scale would blend into it.
        interpolation="nearest" if max(trace.values.shape) <= _MAX_CELLS else None,
        interpolation_stage="rgba",
    )
    image.set_label(norms.NORM)
    if norms.log_limits(trace.values):
        scale = ScalarMappable(LogNorm(10**low, 10**high), colormaps["viridis"])
        bar = layers.add_color_bar(figure, axes, scale)
        norms.set_log_ticks(bar.ax.yaxis, low, high)
        style.set_label(bar.ax, norms.NORM)


def _map_entries(absent: norms.Absent) -> list[style.LegendEntry]:
    from matplotlib.lines import Line2D

    told = (
        ("0", absent.zero, _ZERO_COLOR),
        ("not finite", absent.not_finite, _NOT_FINITE_COLOR),
        ("not recorded", absent.missing, _MISSING_COLOR),
    )
    return [
        (
            Line2D(
                [], [], linestyle="none", marker="s", markersize=8, color=color, markeredgecolor=style.INK
            ),
            f"{text}: {norms.counted(count, 'cell')}",
        )
        for text, count, color in told
        if count
    ]


def _set_recorded_epochs(axes: Axes, epochs: tuple[int, ...]) -> None:
    """Make the horizontal axis of a map count epochs, each as wide as the others, whatever was left out."""
    from matplotlib.ticker import FuncFormatter

    first, last = epochs[0], epochs[-1]
    (image,) = axes.images
    if last - first == len(epochs) - 1:
        image.set_extent((first - 0.5, last + 0.5, *image.get_extent()[2:]))
        style.set_epoch_axis(axes, epochs)
        axes.set_xlim(first - 0.5, last + 0.5)
        return
    style.set_epoch_axis(axes, range(len(epochs)))
    axes.set_xlim(-0.5, len(epochs) - 0.5)
    axes.set_xlabel("Recorded epoch")
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda place, _: str(epochs[int(place)]) if 0 <= place < len(epochs) else "")
    )
