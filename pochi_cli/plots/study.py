"""Pictures of a search: its trials in their order, what matters, and the parameters two by two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pochi_cli.config.values import show
from pochi_cli.plots import style
from pochi_cli.plots.files import save_figure
from pochi_cli.runs.search_layout import StudyFigure, figure_in
from pochi_cli.search.figures import (
    NothingToDrawError,
    best_so_far,
    check_enough_trials,
    compared_parameters,
    importances,
    metric_label,
    value_range,
)
from pochi_cli.search.records import StudyRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

_PANEL = (5.0, 4.2)  # inches
_MOST_NAMED = 8
"""Choices of a parameter whose names are drawn whole."""
_COLORS = "viridis"
_PRUNED = "#999999"
_LEVELS = 15
_GROUND = 120
"""Points of each axis at which the ground between the trials is worked out."""
_SHORT = 10


def write_study_figures(directory: Path, study: StudyRecord) -> list[Path]:
    """Draw the three pictures.

    Returns:
        Their files.

    Raises:
        StorageError: Writing failed.
    """
    drawn: dict[StudyFigure, Figure] = {
        "optimization_history": draw_history(study),
        "param_importances": draw_importances(study),
        "contour": draw_contour(study),
    }
    paths = []
    for kind, figure in drawn.items():
        path = figure_in(directory, kind)
        save_figure(figure, path)
        paths.append(path)
    return paths


def draw_history(study: StudyRecord) -> Figure:
    """Draw the metric of each trial and the best so far.

    Pruned trials stand where they ended, failed ones at the bottom. What lies far off stands at the edge.
    """
    from matplotlib.ticker import MaxNLocator

    # The name first: it may add a font, which only what is made afterwards is drawn in.
    title = f"Trials of {style.drawable(study.study_name)}"
    try:
        check_enough_trials(study)
    except NothingToDrawError as reason:
        return _empty(title, reason)
    figure, axes = style.new_axes()
    axes.set_xlabel("Trial", fontsize=style.LABEL_SIZE, color=style.INK)
    style.set_label(axes, _axis_name(study))
    entries = []
    low, high = value_range(study)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    for state, color, marker in (("complete", style.BLUE, "o"), ("pruned", _PRUNED, "x")):
        points = [
            (trial.number, min(max(trial.value, low), high))
            for trial in study.trials
            if trial.state == state and trial.value is not None
        ]
        if points:
            numbers, values = zip(*points, strict=True)
            (line,) = axes.plot(numbers, values, marker, color=color, markersize=6, clip_on=False)
            entries.append((line, f"{state} ({len(points)})"))
    numbers, values = zip(*best_so_far(study), strict=True)
    (line,) = axes.plot(numbers, values, "-", color=style.VERMILION, drawstyle="steps-post", linewidth=1.6)
    entries.append((line, "best so far"))
    if failed := [trial.number for trial in study.trials if trial.state == "failed"]:
        bottom = axes.get_ylim()[0]
        (line,) = axes.plot(failed, [bottom] * len(failed), "v", color=style.BLACK, clip_on=False)
        entries.append((line, f"failed ({len(failed)})"))
    winner = study.best
    assert winner is not None
    assert winner.value is not None
    style.ring(axes, winner.number, winner.value)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.set_header(axes, title, entries)
    return figure


def draw_importances(study: StudyRecord) -> Figure:
    """Draw each parameter's share in the differences of the metric."""
    title = f"What matters for the {metric_label(study.metric).removesuffix(' in %')}"
    try:
        shares = importances(study)
    except NothingToDrawError as reason:
        return _empty(title, reason)
    figure, axes = style.new_axes((style.FIGURE_SIZE[0], 1.6 + 0.45 * len(shares)))
    names = [style.drawable(name) for name in shares][::-1]
    values = list(shares.values())[::-1]
    bars = axes.barh(range(len(names)), values, color=style.BLUE, height=0.6)
    axes.set_yticks(range(len(names)), names, fontsize=style.TICK_SIZE)
    axes.bar_label(bars, [f"{100 * value:.0f} %" for value in values], padding=4, fontsize=style.TICK_SIZE)
    axes.set_xlim(0, max(values) * 1.12)
    axes.set_xlabel("Share of the variance (fANOVA)", fontsize=style.LABEL_SIZE, color=style.INK)
    axes.grid(visible=False, axis="y")
    style.set_header(axes, title, [])
    return figure


def draw_contour(study: StudyRecord) -> Figure:
    """Draw the metric over each two of the most important parameters, with the trials as points."""
    name = style.drawable(study.study_name)  # before the axes, as above
    title = f"{_axis_name(study)} over two parameters each"
    try:
        names = compared_parameters(study)
    except NothingToDrawError as reason:
        return _empty(title, reason)
    pairs = list(combinations(names, 2))
    columns = min(len(pairs), 3)
    rows = -(-len(pairs) // columns)
    figure, panels = style.new_panels(
        rows, columns, (_PANEL[0] * columns + 1, _PANEL[1] * rows + 0.4), share=False
    )
    scale = value_range(study)
    for axes, (x, y) in zip(panels, pairs, strict=True):
        drawn = _draw_pair(axes, study, x, y, scale)
        axes.use_sticky_edges = False  # points at the edge of the ground are drawn whole
    figure.suptitle(f"{name}\n{title}", fontsize=12, fontweight="bold", color=style.INK)
    bar = figure.colorbar(drawn, ax=panels, pad=0.01, aspect=30)
    bar.set_label(_axis_name(study), fontsize=style.LABEL_SIZE, color=style.INK)
    return figure


def _draw_pair(axes: Axes, study: StudyRecord, x: str, y: str, scale: tuple[float, float]) -> PathCollection:
    trials = [trial for trial in study.complete if x in trial.params and y in trial.params]
    values = np.array([trial.value for trial in trials], dtype=float)
    xs = _set_axis(axes, "x", x, study.search_space[x], [trial.params[x] for trial in trials])
    ys = _set_axis(axes, "y", y, study.search_space[y], [trial.params[y] for trial in trials])
    if all(study.search_space[name]["type"] != "categorical" for name in (x, y)):
        _fill(axes, xs, ys, values, scale)
    points = axes.scatter(
        xs,
        ys,
        c=values,
        cmap=_COLORS,
        vmin=scale[0],
        vmax=scale[1],
        edgecolors="white",
        linewidths=0.8,
        s=40,
        zorder=3,
    )
    for name, margin in ((x, axes.set_xmargin), (y, axes.set_ymargin)):
        if study.search_space[name]["type"] != "categorical":
            margin(0.06)
    best = study.best
    for trial, place_x, place_y in zip(trials, xs, ys, strict=True):
        if best is not None and trial.number == best.number:
            style.ring(axes, place_x, place_y)
    return points


def _set_axis(
    axes: Axes, which: Literal["x", "y"], name: str, space: Mapping[str, Any], drawn: Sequence[Any]
) -> np.ndarray[Any, Any]:
    """Name and scale an axis for a parameter; return where its values lie on it."""
    label = style.drawable(name)
    if which == "x":
        axes.set_xlabel(label, fontsize=style.LABEL_SIZE, color=style.INK)
    else:
        style.set_label(axes, label)
    axis = axes.xaxis if which == "x" else axes.yaxis
    if space["type"] == "categorical":
        choices = space["choices"]
        most = style.MAX_NAME if len(choices) <= _MOST_NAMED else _SHORT
        axis.set_ticks(range(len(choices)), [style.drawable(_choice(choice), most) for choice in choices])
        (axes.set_xlim if which == "x" else axes.set_ylim)(-0.5, len(choices) - 0.5)
        rng = np.random.default_rng(0)  # points of one choice would hide each other
        return np.array([choices.index(value) for value in drawn]) + rng.uniform(-0.15, 0.15, len(drawn))
    if space.get("log"):
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    return np.array(drawn, dtype=float)


def _choice(choice: Any) -> str:
    return choice if isinstance(choice, str) else show(choice)


def _fill(
    axes: Axes,
    xs: np.ndarray[Any, Any],
    ys: np.ndarray[Any, Any],
    values: np.ndarray[Any, Any],
    scale: tuple[float, float],
) -> None:
    """Fill the ground between the trials with what they suggest: a plane over each three neighbours."""
    from matplotlib.tri import LinearTriInterpolator, Triangulation

    # Neighbours as they are seen: with logarithms where the axis has them, and both axes equally long.
    ways = [_Way(xs, axes.get_xscale() == "log"), _Way(ys, axes.get_yscale() == "log")]
    try:
        triangles = Triangulation(*(way.seen(places) for way, places in zip(ways, (xs, ys), strict=True)))
    except (RuntimeError, ValueError):  # too few points, or all in one line
        return
    steps = np.linspace(0.0, 1.0, _GROUND)
    ground = LinearTriInterpolator(triangles, np.clip(values, *scale))(*np.meshgrid(steps, steps))
    axes.contourf(
        *(way.places(steps) for way in ways),
        ground,
        levels=np.linspace(*scale, _LEVELS),
        cmap=_COLORS,
        alpha=0.55,
    )


class _Way:
    """Between values on an axis and shares of its visible length."""

    def __init__(self, values: np.ndarray[Any, Any], is_log: bool) -> None:
        self._is_log = is_log
        scaled = np.log(values) if is_log else values
        self._low, self._length = scaled.min(), np.ptp(scaled) or 1.0

    def seen(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        scaled = np.log(values) if self._is_log else values
        return np.asarray((scaled - self._low) / self._length)

    def places(self, shares: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        scaled = self._low + shares * self._length
        return np.asarray(np.exp(scaled) if self._is_log else scaled)


def _axis_name(study: StudyRecord) -> str:
    name = metric_label(study.metric)
    return name[0].upper() + name[1:]


def _empty(title: str, reason: Exception) -> Figure:
    figure, axes = style.new_axes()
    style.set_header(axes, title, [])
    style.show_message(axes, "\n".join(wrap(str(reason), 60)))
    axes.set_xticks([])
    return figure
