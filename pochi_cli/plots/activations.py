"""The picture of a network's activations: a histogram of each layer's outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.activation_record import LayerActivation
from pochi_cli.inspection.activation_report import ActivationReport
from pochi_cli.inspection.activation_text import caption, percentage
from pochi_cli.plots import style
from pochi_cli.plots.activation_labels import panel_labels
from pochi_cli.plots.files import save_figure
from pochi_cli.runs.inspection_layout import InspectionLayout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 60
_COLUMNS = 6
_PANEL = (2.45, 1.75)
"""Width and height of a panel in inches, with its title and numbers."""
_SIDE, _GAP, _TITLE, _NUMBERS = 0.2, 0.3, 0.38, 0.24
"""Inches beside the panels, between two, and for what stands above and below one."""
_HEADING, _LINE = 0.25, 0.18
"""Inches of a heading without lines, and of each line."""
_TITLE_SIZE = 8
_BINS = 48
_LEAST_WIDTH = 8.0  # inches
_PEAKED = 100.0
"""Times the median of the filled bins: a higher peak alone would be seen if the axis were linear."""


def write_activation_figure(report: ActivationReport, layout: InspectionLayout) -> Path:
    """Draw the activations of a model.

    Args:
        report: The activations.
        layout: Where the picture goes.

    Raises:
        StorageError: It cannot be written.
    """
    save_figure(draw_activations(report), layout.activations)
    return layout.activations


def draw_activations(report: ActivationReport) -> Figure:
    """Draw a panel for each layer in the order in which they run; of very many, some of them.

    Those about which something was found that is more than a note are always drawn, of the others some, as
    evenly as there is room. A panel shows nearly all values that are not 0: what lies beyond the 0.1 % and
    99.9 % quantiles would squeeze it.
    """
    layers = report.survey.layers
    ranks = _ranks(report)
    chosen = choose_panels(ranks, MOST_PANELS)
    # Before the figure is made: they may need other fonts than the usual one.
    labels = panel_labels([layer.label for layer in layers], chosen)
    columns = min(_COLUMNS, max(2, int(np.ceil(np.sqrt(1.4 * len(chosen))))))
    rows = -(-len(chosen) // columns)
    heading = [
        caption(report),
        "the dashed line is the mean; values that are 0 are not drawn, but told above each",
    ]
    if left_out := len(layers) - len(chosen):
        heading.append(f"{len(chosen)} of {len(layers)} layers are drawn, {left_out} are left out")
    top = _HEADING + _LINE * len(heading)
    size = max(_LEAST_WIDTH, _PANEL[0] * columns), top + _PANEL[1] * rows
    figure, panels = style.new_panels(rows, columns, size, share=False)
    _place_panels(figure, panels, columns, top)
    lines = "\n".join(style.drawable(line, 200) for line in heading)
    figure.suptitle(lines, y=1 - 0.1 / size[1], fontsize=11, color=style.INK)
    for axes, at, label in zip(panels, chosen, labels, strict=False):
        _draw_layer(axes, layers[at], label, _COLORS[ranks[at]])
    for axes in panels[len(chosen) :]:
        axes.remove()
    return figure


def _place_panels(figure: Figure, panels: list[Axes], columns: int, top: float) -> None:
    """Give every panel the same size; matplotlib would measure each, for half the time of the picture."""
    width, height = figure.get_size_inches()
    panel_width = (width - 2 * _SIDE - _GAP * (columns - 1)) / columns
    panel_height = _PANEL[1] - _TITLE - _NUMBERS
    figure.set_layout_engine("none")
    for at, axes in enumerate(panels):
        row, column = divmod(at, columns)
        left = _SIDE + column * (panel_width + _GAP)
        bottom = height - top - (row + 1) * _PANEL[1] + _NUMBERS
        axes.set_position((left / width, bottom / height, panel_width / width, panel_height / height))


class Rank(IntEnum):
    """How much a layer should be drawn, the most first."""

    BLAMED = 0
    """An error or a warning is about it."""
    INVOLVED = 1
    """It is named with another of which there is one."""
    NOTED = 2
    HEALTHY = 3


_COLORS = {
    Rank.BLAMED: style.VERMILION,
    Rank.INVOLVED: style.VERMILION,
    Rank.NOTED: style.ORANGE,
    Rank.HEALTHY: style.BLUE,
}


def _ranks(report: ActivationReport) -> list[Rank]:
    ranks: dict[str, Rank] = {}
    for finding in report.findings:
        is_note = finding.severity == "note"
        for name in (finding.where, *finding.also):
            rank = Rank.NOTED if is_note else Rank.BLAMED if name == finding.where else Rank.INVOLVED
            ranks[name] = min(rank, ranks.get(name, rank))
    return [ranks.get(layer.label, Rank.HEALTHY) for layer in report.survey.layers]


def choose_panels(ranks: Sequence[Rank], most: int) -> list[int]:
    """Choose which of many layers are drawn.

    First come those that are blamed, then those involved; with them those of mere notes fill half at most, as
    long as there are healthy ones for the rest. Of each kind they are spaced evenly.

    Args:
        ranks: Of each layer.
        most: How many are drawn.

    Returns:
        Rising positions.
    """
    of = {rank: [at for at, one in enumerate(ranks) if one is rank] for rank in Rank}
    healthy = len(of[Rank.HEALTHY])
    chosen: list[int] = []
    for rank in Rank:
        room = most - len(chosen)
        if rank is Rank.NOTED:
            room = min(room, max(most // 2 - len(chosen), room - healthy, 0))
        chosen += _spaced(of[rank], room)
    return sorted(chosen)


def _spaced(positions: list[int], most: int) -> list[int]:
    if most >= len(positions):
        return positions
    return [positions[at] for at in np.linspace(0, len(positions) - 1, most).round().astype(int)]


def _draw_layer(axes: Axes, layer: LayerActivation, label: str, color: str) -> None:
    axes.tick_params(labelsize=style.SMALL_SIZE, length=2, pad=2)
    axes.grid(visible=False)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_title(
        f"{label}\n{_facts(layer)}",
        fontsize=_TITLE_SIZE,
        loc="left",
        color=color if color == style.VERMILION else style.INK,
        pad=3,
    )
    if not layer.histogram.count:
        axes.set_xticks([])
        is_lost = layer.values == layer.non_finite
        style.show_message(axes, "nothing finite" if is_lost else "every value is 0")
        axes.texts[-1].set_fontsize(style.TICK_SIZE)
        return
    _draw_histogram(axes, layer, color)


def _facts(layer: LayerActivation) -> str:
    facts = [f"{percentage(layer.zero_fraction)} zero"] if layer.values > layer.non_finite else []
    if not (layer.function or layer.dead or layer.constant or layer.non_finite):
        facts.insert(0, layer.type)  # else there is no room
    if layer.dead:
        facts.append(f"{len(layer.dead):,} of {layer.units:,} dead")
    if layer.constant:
        facts.append(f"{len(layer.constant):,} constant")
    if layer.non_finite:
        facts.append(f"{percentage(layer.non_finite / layer.values)} not finite")
    return ", ".join(facts)


def _draw_histogram(axes: Axes, layer: LayerActivation, color: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    edges, counts, _, _ = layer.histogram.shown(_BINS)
    axes.stairs(counts, edges, fill=True, color=color, alpha=0.75)
    if _is_peaked(counts):
        axes.set_yscale("log")
        axes.set_ylim(max(counts[counts > 0].min(), counts.max() * 1e-5) / 2, counts.max() * 1.5)
        axes.minorticks_off()
        axes.set_yticks([])
        axes.set_ylabel("log", fontsize=style.SMALL_SIZE, color=style.INK, labelpad=1)
    else:
        axes.set_ylim(0, 1.05 * counts.max())
    low, high = edges[0], edges[-1]
    room = 0.02 * (high - low)
    axes.set_xlim(low - room, high + room)
    if low <= layer.mean <= high:
        axes.axvline(layer.mean, color=style.BLACK, linewidth=1.0, linestyle="--")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _rounded(value, high - low)))


def _is_peaked(counts: NDArray[np.int64]) -> bool:
    filled = counts[counts >= 1]
    return len(filled) > 1 and bool(counts.max() > _PEAKED * np.median(filled))


def _rounded(value: float, span: float) -> str:
    """Write a number to within a hundredth of a span."""
    if abs(value) < span / 100:
        return "0"
    digits = max(2, math.ceil(math.log10(abs(value) / span)) + 2)
    number, _, exponent = f"{abs(value):.{digits}g}".partition("e")
    return f"{'−' if value < 0 else ''}{number}{f'e{int(exponent)}' if exponent else ''}"
