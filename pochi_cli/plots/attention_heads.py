"""The attention of all heads of a layer, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pochi_cli.inspection.attention_record import AttentionLayer, PatchGrid
from pochi_cli.inspection.head_similarity import HeadFacts
from pochi_cli.plots import attention_tokens as tokens
from pochi_cli.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_WIDTH = 10.4
"""Inches that all panels have together, where they are not so few that `_MAX_SIDE` bounds them."""
_MAX_SIDE = 4.2
_GAP, _TITLE = 0.12, 0.28  # inches between panels, and above each
_HEADING = 0.95  # inches: title, and what is drawn
_AXIS_NAME = 0.4  # inches
_BAR = 0.95  # inches with its numbers and name
_LEAST_WIDTH = 6.5  # inches: below, the titles would not fit


class _Layout(NamedTuple):
    """Where the panels stand, in inches from the top left corner.

    Attributes:
        columns, rows: Panels side by side, and one below the other.
        side: Of a panel.
        left, below: Room for the tokens' names.
    """

    columns: int
    rows: int
    side: float
    left: float
    below: float

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure."""
        panels = self.columns * (self.side + _GAP)
        height = _HEADING + self.rows * (self.side + _TITLE) + self.below + _AXIS_NAME + 0.1
        return max(_AXIS_NAME + self.left + panels + _BAR, _LEAST_WIDTH), height

    def place(self, head: int) -> tuple[float, float]:
        """Left and top of a head's panel."""
        row, column = divmod(head, self.columns)
        left = _AXIS_NAME + self.left + column * (self.side + _GAP)
        return left, _HEADING + row * (self.side + _TITLE) + _TITLE


def draw_heads(layer: AttentionLayer, title: str, window: int = 0, facts: Sequence[HeadFacts] = ()) -> Figure:
    """Draw the heat maps of all heads, with one scale of colours and names at the outer axes alone.

    Args:
        layer: The attention.
        title: What it is of, such as the image, as it is; the layer is told below it.
        window: Which window, from 0.
        facts: Of each head, whose entropy is then told above its panel.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # All texts first: one may add a font, which only what is made afterwards is drawn in.
    title, told = style.drawable(title, tokens.MAX_TITLE), tokens.describe_layer(layer, window)
    labels = tokens.token_labels(layer, window)
    figure = Figure(dpi=style.DPI, facecolor="white")
    FigureCanvasAgg(figure)  # else every text would be measured on a new canvas
    columns = _columns(layer.heads)
    side = min(_WIDTH / columns, _MAX_SIDE)
    rows, across = (tokens.token_ticks(names, layer.grid, window, side) for names in labels)
    left, below = (tokens.widest(figure, ticks.labels, style.SMALL_SIZE) + 0.08 for ticks in (rows, across))
    layout = _Layout(columns, -(-layer.heads // columns), side, left, below)
    figure.set_size_inches(layout.size)
    scale = tokens.weight_scale(layer.weights[window])
    for head, weights in enumerate(layer.weights[window]):
        axes = _add_panel(figure, layout, head)
        image = tokens.draw_weights(axes, weights, scale)
        _name_tokens(axes, rows, across, head, layout, layer.heads)
        entropy = f", entropy {facts[head].entropy:.2f}" if facts else ""
        axes.set_title(f"Head {head + 1}{entropy}", fontsize=style.TICK_SIZE, color=style.INK, pad=3)
    _add_bar(figure, layout, image, scale)
    _write_around(figure, layout, title, told, (rows, across), layer.grid, is_masked=bool(axes.patches))
    return figure


def _columns(heads: int) -> int:
    """Choose panels side by side: about as many as below each other, so that the last row lacks few."""
    least = math.isqrt(heads - 1) + 1
    return min(range(least, least + 3), key=lambda columns: -heads % columns)


def _add_panel(figure: Figure, layout: _Layout, head: int) -> Axes:
    # Placed by hand: the panels are alike, and a layout that measures them would take most of the time.
    (width, height), (left, top) = layout.size, layout.place(head)
    axes = figure.add_axes(
        (left / width, 1 - (top + layout.side) / height, layout.side / width, layout.side / height)
    )
    style.style_axis(axes)
    return axes


def _name_tokens(
    axes: Axes,
    rows: tokens.TokenTicks,
    across: tokens.TokenTicks,
    head: int,
    layout: _Layout,
    heads: int,
) -> None:
    # The inner panels have no ticks: those, also without names, would take most of the time.
    if head % layout.columns == 0:
        tokens.set_token_axis(axes.yaxis, rows, style.SMALL_SIZE)
    else:
        axes.set_yticks([])
    if head + layout.columns >= heads:
        tokens.set_token_axis(axes.xaxis, across, style.SMALL_SIZE)
        axes.tick_params("x", labelrotation=90)
    else:
        axes.set_xticks([])


def _add_bar(figure: Figure, layout: _Layout, image: AxesImage, scale: tokens.WeightScale) -> None:
    width, height = layout.size
    left = layout.place(layout.columns - 1)[0] + layout.side + 0.15
    length = min(layout.rows * (layout.side + _TITLE) - _TITLE, _MAX_SIDE)
    top = _HEADING + _TITLE
    bar_axes = figure.add_axes((left / width, 1 - (top + length) / height, 0.13 / width, length / height))
    bar = figure.colorbar(image, cax=bar_axes)
    bar.outline.set_visible(False)
    tokens.label_bar(bar, scale)


def _write_around(
    figure: Figure,
    layout: _Layout,
    title: str,
    told: str,
    ticks: tuple[tokens.TokenTicks, tokens.TokenTicks],
    grid: PatchGrid | None,
    *,
    is_masked: bool,
) -> None:
    """Write the titles, the names of the axes and, where there is any, what a hatched row is."""
    width, height = layout.size
    start = _AXIS_NAME + layout.left  # of the panels
    middle = start + layout.columns * (layout.side + _GAP) / 2
    panels = _HEADING + layout.rows * (layout.side + _TITLE)
    ink = style.INK
    size = tokens.title_size(figure, title, width - start - 0.1)
    figure.text(start / width, 1 - 0.25 / height, title, fontsize=size, color=ink, va="center")
    told = tokens.wrapped(f"{told}; hatched: {tokens.MASKED}" if is_masked else told, width - start)
    figure.text(start / width, 1 - 0.45 / height, told, fontsize=style.LABEL_SIZE, color=ink, va="top")
    query, key = (
        tokens.axis_name(name, named, grid)
        for name, named in zip((tokens.QUERY, tokens.KEY), ticks, strict=True)
    )
    figure.text(
        0.2 / width,
        1 - (_HEADING + panels) / 2 / height,
        query,
        rotation=90,
        fontsize=style.LABEL_SIZE,
        color=ink,
        ha="center",
        va="center",
    )
    figure.text(
        middle / width,
        1 - (panels + layout.below + 0.2) / height,
        key,
        fontsize=style.LABEL_SIZE,
        color=ink,
        ha="center",
        va="center",
    )
