"""The picture of one backward pass: mean, norm, standard deviation and range of each layer's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.gradient_flow import GradientFlow
from pochi_cli.plots import layers, norms, signed, style
from pochi_cli.plots.files import save_figure
from pochi_cli.runs.index import Run
from pochi_cli.runs.layout import gradient_flow_figure, make_parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Array = NDArray[np.float64]

_SIZE = (14.0, 10.0)  # inches


def write_gradient_flow_figure(flow: GradientFlow, title: str, run: Run, output_dir: Path | None) -> Path:
    """Draw the gradients of one backward pass.

    Args:
        flow: The gradients.
        title: What they are of.
        run: The run whose they are.
        output_dir: Where the picture goes, made where missing; into the run by default.

    Raises:
        StorageError: It cannot be written.
    """
    if output_dir is None:
        make_parts(run.layout)
    path = gradient_flow_figure(output_dir if output_dir is not None else run.layout.visualization)
    save_figure(draw_gradient_flow(flow, title), path)
    return path


def draw_gradient_flow(flow: GradientFlow, title: str) -> Figure:
    """Draw four panels over the layers; what has no place on an axis is marked at its edge and counted."""
    style.add_fonts(layer.name for layer in flow.layers)
    figure, (means, sizes, spreads, ranges) = style.new_panels(2, 2, _SIZE)
    figure.suptitle(title.replace("$", r"\$"), fontsize=14, color=style.INK)
    is_lost = np.array([layer.non_finite > 0 for layer in flow.layers])
    _draw_means(means, _values(flow, "mean"), is_lost)
    _draw_norms(sizes, _values(flow, "norm"), is_lost)
    _draw_spreads(spreads, _values(flow, "std"), is_lost)
    _draw_ranges(ranges, _values(flow, "min"), _values(flow, "max"), is_lost)
    for axes in (spreads, ranges):
        layers.set_layer_columns(axes, [layer.name for layer in flow.layers])
    for axes in (means, sizes):
        axes.set_xlabel("Layer (named below)", fontsize=style.LABEL_SIZE, color=style.INK)
    return figure


def _values(flow: GradientFlow, name: str) -> Array:
    return np.array([getattr(layer, name) for layer in flow.layers], dtype=np.float64)


def _draw_means(axes: Axes, values: Array, is_lost: NDArray[np.bool_]) -> None:
    axes.bar(np.arange(len(values)), np.nan_to_num(values), width=0.8, color=style.BLUE)
    linear = signed.set_signed(axes, values)
    _finish(axes, "Mean gradient per layer", f"Mean over the entries{_linear(linear)}", values, is_lost)


def _draw_norms(axes: Axes, values: Array, is_lost: NDArray[np.bool_]) -> None:
    _plot_line(axes, np.where(values > 0, values, np.nan), style.BLUE, "norm")
    norms.set_log_norms(axes, "y", values)
    is_zero = values == 0
    norms.mark_edge(axes, np.flatnonzero(is_zero), "bottom", style.BLACK)
    _finish(axes, "Gradient norm per layer", "L2 norm", values, is_lost, zeros=int(is_zero.sum()))


def _draw_spreads(axes: Axes, values: Array, is_lost: NDArray[np.bool_]) -> None:
    axes.bar(np.arange(len(values)), np.nan_to_num(values), width=0.8, color=style.ORANGE)
    axes.set_ylim(0, 1.08 * np.nanmax(values, initial=0.0) or 1)
    _finish(axes, "Gradient std per layer", "Standard deviation over the entries", values, is_lost)


def _draw_ranges(axes: Axes, least: Array, largest: Array, is_lost: NDArray[np.bool_]) -> None:
    entries = [
        (_plot_line(axes, largest, style.GREEN, "max"), "largest entry"),
        (_plot_line(axes, least, style.VERMILION, "min"), "least entry"),
    ]
    linear = signed.set_signed(axes, np.concatenate([least, largest]))
    is_drawn = (~is_lost).astype(np.float64)  # also where it is 0
    _finish(axes, "Gradient range per layer", f"Gradient{_linear(linear)}", is_drawn, is_lost, entries)


def _plot_line(axes: Axes, values: Array, color: str, label: str) -> Line2D:
    size = 4 if len(values) <= 80 else 2.5
    (line,) = axes.plot(
        np.arange(len(values)), values, color=color, linewidth=1.2, marker="o", markersize=size, label=label
    )
    return line


def _finish(
    axes: Axes,
    title: str,
    label: str,
    values: Array,
    is_lost: NDArray[np.bool_],
    entries: Sequence[style.LegendEntry] = (),
    zeros: int = 0,
) -> None:
    norms.mark_edge(axes, np.flatnonzero(is_lost), "top", style.BLACK)
    if not axes.texts and not values[~is_lost].any():
        style.show_message(axes, "no finite gradient" if is_lost.all() else "every one is 0")
    absent = norms.Absent(zeros, int(is_lost.sum()), 0)
    style.set_label(axes, label)
    style.set_header(axes, title, [*entries, *norms.absent_entries(absent, ("bottom", "top"), "layer")])


def _linear(exponent: int | None) -> str:
    return "" if exponent is None else f" (axis linear within ±{norms.short(10.0**exponent)})"
