"""The picture of a network's layers: the parameters and the operations of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pochi_cli.inspection.model_structure import ModelStructure
from pochi_cli.plots import layers, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MOST_ROWS = 54
"""Layers that are drawn one by one; of more, those are drawn together whose names begin alike."""

_WIDTH = 12.0  # inches
_FROZEN_COLOR = style.SKY
_TITLE_CHARACTERS = 96


class Row(NamedTuple):
    """A bar: a layer, or several together.

    Attributes:
        name: Its name, or what their names begin with.
        trainable: Numbers that are trained.
        frozen: Numbers that are not.
        macs: Multiply-accumulate operations.
    """

    name: str
    trainable: int
    frozen: int
    macs: int


def draw_model_structure(structure: ModelStructure, title: str) -> Figure:
    """Draw the parameters and the operations of the layers that have any, from the input to the output."""
    rows = layer_rows(structure)
    size = layers.layer_figure_size(len(rows), _WIDTH)
    names = [row.name for row in rows]
    style.add_fonts(names)
    figure, (parameters, operations) = style.new_panels(1, 2, size)
    figure.suptitle(style.drawable(title, _TITLE_CHARACTERS), fontsize=14, color=style.INK)
    _draw_parameters(parameters, rows, structure)
    macs = [row.macs for row in rows]
    _draw_bars(operations, np.zeros(len(rows)), macs, style.ORANGE)
    _finish(operations, macs, "MACs")
    total = f"{_short(structure.macs)} MACs for one input"
    style.set_header(operations, "Operations", [(_key(operations, style.ORANGE), total)], 44)
    if not rows:
        return figure
    layers.set_layer_axis(parameters, names, layers.distinct_labels(names))
    operations.set_ylim(*parameters.get_ylim())
    operations.set_yticks(parameters.get_yticks(), labels=[])
    return figure


def layer_rows(structure: ModelStructure, most: int = MOST_ROWS) -> list[Row]:
    """Choose the bars: the layers with parameters or operations, or where they are too many, groups of them.

    Args:
        structure: The layers.
        most: How many bars there may be, if names of one part allow it.
    """
    rows = [
        Row(layer.label, layer.trainable, layer.parameters - layer.trainable, layer.macs)
        for layer in structure.layers
        if layer.parameters or layer.macs
    ]
    for depth in range(max((row.name.count(".") + 1 for row in rows), default=1), 0, -1):
        grouped = _grouped(rows, depth)
        if len(grouped) <= most:
            break
    return grouped


def _grouped(rows: Sequence[Row], depth: int) -> list[Row]:
    groups: dict[str, Row] = {}
    for row in rows:
        name = ".".join(row.name.split(".")[:depth])
        before = groups.get(name, Row(name, 0, 0, 0))
        groups[name] = Row(
            name, before.trainable + row.trainable, before.frozen + row.frozen, before.macs + row.macs
        )
    return list(groups.values())


def _draw_parameters(axes: Axes, rows: Sequence[Row], structure: ModelStructure) -> None:
    trainable = [row.trainable for row in rows]
    _draw_bars(axes, np.zeros(len(rows)), trainable, style.BLUE)
    entries = [(_key(axes, style.BLUE), f"{_short(structure.trainable)} trainable")]
    if structure.frozen:
        _draw_bars(axes, np.array(trainable), [row.frozen for row in rows], _FROZEN_COLOR)
        entries.append((_key(axes, _FROZEN_COLOR), f"{_short(structure.frozen)} frozen"))
    _finish(axes, [row.trainable + row.frozen for row in rows], "Parameters")
    style.set_header(axes, "Parameters", entries, 44)


def _draw_bars(axes: Axes, start: np.typing.NDArray[np.float64], lengths: Sequence[int], color: str) -> None:
    axes.barh(np.arange(len(lengths)), lengths, left=start, height=0.78, color=color)


def _key(axes: Axes, color: str) -> Line2D:
    (line,) = axes.plot([], [], color=color, linewidth=6, label="_key")
    return line


def _finish(axes: Axes, values: Sequence[int], label: str) -> None:
    """Write each value behind its bar, and name the axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    size = style.TICK_SIZE if len(values) <= 24 else style.SMALL_SIZE
    for position, value in enumerate(values):
        if value:
            axes.annotate(
                _short(value),
                (value, position),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=size,
                color=style.INK,
            )
    axes.set_xlim(0, 1.16 * max(max(values, default=0), 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.set_xlabel(label, fontsize=style.LABEL_SIZE, color=style.INK)
    axes.grid(visible=False, axis="y")
    if not any(values):
        style.show_message(axes, "none")


def _short(value: float) -> str:
    """Write a number with three digits, such as `11.7 M`."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g}"
