"""The pictures of a gradient trace, and their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pochi_cli.plots.files import save_figure
from pochi_cli.plots.gradient_epochs import draw_heatmap, draw_timeline
from pochi_cli.plots.gradient_profiles import (
    draw_extremes,
    draw_initial_vs_final,
    draw_snapshots,
    draw_stability,
)
from pochi_cli.runs.gradient_trace import GradientTrace, TraceFile, read_gradient_trace
from pochi_cli.runs.layout import GradientFigure, gradient_figure, make_parts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRADIENT_FIGURES: dict[GradientFigure, Callable[[GradientTrace], Figure]] = {
    "timeline_all": draw_timeline,
    "timeline_early": lambda trace: draw_timeline(trace, "early"),
    "timeline_late": lambda trace: draw_timeline(trace, "late"),
    "heatmap": draw_heatmap,
    "statistics_initial_vs_final": draw_initial_vs_final,
    "statistics_stability": draw_stability,
    "statistics_max": lambda trace: draw_extremes(trace, "max"),
    "statistics_min": lambda trace: draw_extremes(trace, "min"),
    "snapshots": lambda trace: draw_snapshots(trace, use_log_scale=True),
    "snapshots_linear": lambda trace: draw_snapshots(trace, use_log_scale=False),
}
"""What draws each picture."""


def write_gradient_figures(
    file: TraceFile, output_dir: Path | None, tell: Callable[[int, int], None]
) -> list[Path]:
    """Draw the pictures of a gradient trace.

    Args:
        file: Where the trace lies.
        output_dir: Where they go, made where missing; the directory of the trace by default.
        tell: Told how many pictures are done, and of how many.

    Returns:
        The files written.

    Raises:
        RunError: The trace cannot be read, or is something else.
        StorageError: A file cannot be written.
    """
    trace = read_gradient_trace(file.path)
    if output_dir is None and file.run is not None:
        make_parts(file.run.layout)
    written: list[Path] = []
    tell(0, len(GRADIENT_FIGURES))
    for kind, draw in GRADIENT_FIGURES.items():
        path = gradient_figure(output_dir if output_dir is not None else file.path.parent, kind)
        save_figure(draw(trace), path)
        written.append(path)
        tell(len(written), len(GRADIENT_FIGURES))
    return written
