"""The attention of one head, or of all on average: which token looks at which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pochi_cli.inspection.attention_record import AttentionLayer
from pochi_cli.plots import attention_tokens as tokens
from pochi_cli.plots import layers, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEAST_SIDE, _MAX_SIDE = 4.5, 10.0
"""Inches of the map; between them it goes by the words that it has to name."""
_PATCHES_SIDE = 7.0
_WORD = 0.2  # inches
_FEW = 40
"""Names up to which they are of the usual size."""
_BESIDE, _ABOVE = 2.1, 1.7
"""Inches around the map without the tokens' names: the bar, titles, and names of the axes."""


def draw_pattern(layer: AttentionLayer, head: int | None, title: str, window: int = 0) -> Figure:
    """Draw a heat map with the queries down and the keys across.

    Colours go by a root of the weight (`attention_tokens.weight_scale`); a query whose keys are all masked
    is a hatched row. Few tokens are named one by one, many patches by their rows.

    Args:
        layer: The attention.
        head: Which head, from 0; `None` for the mean over all.
        title: What it is of, such as the image, as it is; layer and head are told below it.
        window: Which window, from 0.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # All texts first: one may add a font, which only what is made afterwards is drawn in.
    title, told = style.drawable(title, tokens.MAX_TITLE), tokens.describe(layer, head, window)
    query_labels, key_labels = tokens.token_labels(layer, window)
    weights = tokens.head_weights(layer, head, window)
    figure, axes = style.new_axes()
    FigureCanvasAgg(figure)  # else every text would be measured on a new canvas
    height, width = (_side(layer, count) for count in weights.shape)
    rows = tokens.token_ticks(query_labels, layer.grid, window, height)
    columns = tokens.token_ticks(key_labels, layer.grid, window, width)
    is_large = max(len(rows.labels), len(columns.labels)) <= _FEW
    size = style.TICK_SIZE if is_large else style.SMALL_SIZE
    is_level = tokens.fits_beside(
        columns, len(key_labels), tokens.widest(figure, columns.labels, size), width
    )
    below = tokens.LINE if is_level else tokens.widest(figure, columns.labels, size)
    figure.set_size_inches(
        width + _BESIDE + tokens.widest(figure, rows.labels, size), height + _ABOVE + below
    )
    scale = tokens.weight_scale(weights)
    image = tokens.draw_weights(axes, weights, scale)
    tokens.label_bar(layers.add_color_bar(figure, axes, image), scale)
    tokens.set_token_axis(axes.yaxis, rows, size)
    tokens.set_token_axis(axes.xaxis, columns, size)
    axes.tick_params("x", labelrotation=0 if is_level else 90)
    style.set_label(axes, tokens.axis_name(tokens.QUERY, rows, layer.grid))
    axes.set_xlabel(
        tokens.axis_name(tokens.KEY, columns, layer.grid), fontsize=style.LABEL_SIZE, color=style.INK
    )
    figure.suptitle(
        title, fontsize=tokens.title_size(figure, title, 0.95 * figure.get_figwidth()), color=style.INK
    )
    told += f"; hatched: {tokens.MASKED}" if axes.patches else ""
    axes.set_title(tokens.wrapped(told, width + 1.2), loc="left", fontsize=style.LABEL_SIZE, color=style.INK)
    return figure


def _side(layer: AttentionLayer, count: int) -> float:
    if layer.grid is not None:
        return _PATCHES_SIDE
    return min(max(_WORD * count, _LEAST_SIDE), _MAX_SIDE)
