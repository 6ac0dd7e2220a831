"""The picture of the course of a training: six panels over its epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pochi_cli.inspection.monitor_panels import USUAL_UPDATE, Curve, Panel
from pochi_cli.inspection.monitor_report import MonitorReport
from pochi_cli.plots import norms, style
from pochi_cli.plots.files import save_figure
from pochi_cli.runs.index import Run
from pochi_cli.runs.layout import make_parts, monitor_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_SIZE = (18.0, 10.0)  # inches
_LEGEND_CHARACTERS = 61
_LARGEST = 1e300
"""Beyond, margins and ticks would overflow."""


def write_monitor_figure(report: MonitorReport, run: Run, output_dir: Path | None) -> Path:
    """Draw the course of a training.

    Args:
        report: What is known of it.
        run: The run.
        output_dir: Where the picture goes, made where missing; into the run by default.

    Raises:
        StorageError: It cannot be written.
    """
    if output_dir is None:
        make_parts(run.layout)
    path = monitor_figure(output_dir if output_dir is not None else run.layout.visualization)
    save_figure(draw_monitor(report), path)
    return path


def draw_monitor(report: MonitorReport) -> Figure:
    """Draw six panels over the epochs; one without data says why, and what is not finite is marked."""
    figure, panels = style.new_panels(2, 3, _SIZE)
    title = f"Training of {report.run}: {report.status}, {len(report.history)} of {report.epochs} epochs"
    figure.suptitle(style.drawable(title) if "$" in title else title, fontsize=14, color=style.INK)
    ends = [curve.positions[-1] for panel in report.panels for curve in panel.curves if len(curve.positions)]
    for axes, panel in zip(panels, report.panels, strict=True):
        _draw(axes, panel)
        _set_epochs(axes, max([1.0, *ends]))
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    colors = (*(style.PALETTE[:2] if len(panel.curves) == 2 else style.PALETTE),)
    entries = [
        (_plot(axes, curve, color), style.drawable(curve.name))
        for curve, color in zip(panel.curves, colors, strict=False)
    ]
    _set_scale(axes, panel)
    if panel.best is not None and abs(panel.best[1]) < _LARGEST:
        entries.append((style.ring(axes, *panel.best[:2]), panel.best[2]))
    if panel.is_ratio and panel.curves:
        line = axes.axhline(USUAL_UPDATE, color=style.INK, linewidth=1.2, linestyle="--", zorder=1.5)
        entries.append((line, "0.001, usual"))
    entries += _mark_lost(axes, panel)
    style.set_label(axes, panel.label)
    if panel.missing and not panel.curves:
        style.show_message(axes, panel.missing)
    title = f"{panel.title} ({panel.missing})" if panel.missing and panel.curves else panel.title
    style.set_header(axes, title, entries, _LEGEND_CHARACTERS)


def _plot(axes: Axes, curve: Curve, color: str) -> Line2D:
    drawn = np.where(np.abs(curve.values) < _LARGEST, curve.values, np.nan)  # false for NaN
    (line,) = axes.plot(
        curve.positions,
        drawn,
        color=color,
        alpha=0.6 if curve.is_step else 1,
        linewidth=1.0 if curve.is_step else 1.8,
        marker="o",
        markersize=4.5,
        markevery=style.marked(np.isfinite(drawn).tolist()),
        label=curve.name,
    )
    return line


def _set_scale(axes: Axes, panel: Panel) -> None:
    """Make the axis logarithmic where values span more than two decades, and for norms and ratios always."""
    if not panel.curves:
        return
    values = np.concatenate([curve.values for curve in panel.curves])
    finite = values[np.abs(values) < _LARGEST]
    if not finite.size:
        style.show_message(axes, "no finite values")
        return
    above = finite[finite > 0]
    if panel.is_ratio:
        norms.set_log_norms(axes, "y", np.append(above, USUAL_UPDATE))
    elif above.size and (panel.title == "Gradient norm" or above.max() > 100 * finite.min() > 0):
        norms.set_log_norms(axes, "y", above)


def _mark_lost(axes: Axes, panel: Panel) -> list[style.LegendEntry]:
    """Mark what is not finite at the upper edge, and count it."""
    for curve in panel.curves:
        norms.mark_edge(axes, curve.lost, "top", style.BLACK)
    count = sum(len(curve.lost) for curve in panel.curves)
    return norms.absent_entries(norms.Absent(0, count, 0), ("", "top"))


def _set_epochs(axes: Axes, last: float) -> None:
    style.set_epoch_axis(axes, (1, int(np.ceil(last))))
    axes.set_xlim(0, last + max(0.02 * last, 0.1))
    axes.tick_params(labelbottom=True)
