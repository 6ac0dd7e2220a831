"""The attention of one head as curves from queries to keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.attention_record import AttentionLayer, Indices, Weights
from pochi_cli.plots import attention_tokens as tokens
from pochi_cli.plots import layers, style
from pochi_cli.plots.attention_edges import Edges, choose_edges

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (9.0, 5.0)
_MAX_HEIGHT, _ROW = 12.5, 0.19  # inches; a row is a token
_ABOVE = 2.0  # inches of titles and names
_MAX_NAMED = 60
_FEW = 30
"""Tokens up to which their names are of the usual size."""
_POINTS = 30
"""Of a curve."""
_WIDEST, _THINNEST = 7.0, 0.6  # points
_FAINTEST = 0.22
_MASKED_COLOR = "#9A9A9A"
_COLOR = style.BLUE


def draw_flow(
    layer: AttentionLayer,
    head: int | None,
    title: str,
    window: int = 0,
    top: int | None = None,
    mass: float | None = None,
    queries: Sequence[int] | None = None,
) -> Figure:
    """Draw curves from the queries at the left to the keys at the right, as wide and opaque as the weight.

    What is drawn, and what is left out, is told above. Without `top`, `mass` and `queries` it is as much as
    can be read: of more than 50 queries the class token alone or ten of them, and their largest keys.

    Args:
        layer: The attention.
        head: Which head, from 0; `None` for the mean over all.
        title: What it is of, such as the image, as it is; layer and head are told below it.
        window: Which window, from 0.
        top: How many keys of each query, those with the largest weights.
        mass: Above 0, to 1: of each query the fewest keys that together hold so much of its weight.
        queries: Which, from 0.

    Raises:
        ValueError: Both `top` and `mass` are given, or one is out of range, or there is no such query.
    """
    # All texts first: one may add a font, which only what is made afterwards is drawn in.
    title, told = style.drawable(title, tokens.MAX_TITLE), tokens.describe(layer, head, window)
    query_labels, key_labels = tokens.token_labels(layer, window)
    weights = tokens.head_weights(layer, head, window)
    edges = choose_edges(layer, weights, top, mass, queries, window)
    count = max(len(edges.queries), len(edges.keys))
    figure, axes = style.new_axes((_SIZE[0], min(max(_SIZE[1], _ABOVE + _ROW * count), _MAX_HEIGHT)))
    starts, ends = _places(edges.queries, count), _places(edges.keys, count)
    is_masked = np.any(np.isnan(weights[edges.queries]), axis=1)
    _draw_curves(axes, edges, starts, ends)
    _prepare(axes, count)
    _name(axes, starts, [query_labels[at] for at in edges.queries], is_masked)
    right = axes.twinx()
    _prepare(right, count)
    _name(right, ends, [key_labels[at] for at in edges.keys], np.zeros(len(edges.keys), dtype=bool))
    by_place = "" if layer.grid is None else tokens.BY_PLACE
    style.set_label(axes, tokens.QUERY + by_place)
    style.set_label(right, tokens.KEY + by_place)
    size = tokens.title_size(figure, title, 0.95 * _SIZE[0])
    figure.suptitle(title, fontsize=size, color=style.INK)
    _write_told(axes, told, edges, has_masked=bool(is_masked.any()))
    return figure


def _write_told(axes: Axes, told: str, edges: Edges, *, has_masked: bool) -> None:
    """Say above the curves whose they are, what is drawn, and what their widths mean."""
    lines = [told, f"Drawn: {edges.chosen}", f"Left out: {edges.left_out or 'nothing'}"]
    lines += [f"Grey: {tokens.MASKED}"] if has_masked else []
    wrapped = [tokens.wrapped(line, _SIZE[0] - 2) for line in lines]
    style.set_header(axes, "", _entries(edges.weights))
    axes.set_title("\n".join(wrapped), loc="left", fontsize=style.TICK_SIZE, color=style.INK, pad=24)


def _places(shown: Indices, count: int) -> NDArray[np.float64]:
    """Spread tokens over the height of the longer of the two columns."""
    step = count / max(len(shown), 1)
    return np.asarray((np.arange(len(shown)) + 0.5) * step - 0.5)


def _draw_curves(axes: Axes, edges: Edges, starts: NDArray[np.float64], ends: NDArray[np.float64]) -> None:
    from matplotlib.collections import LineCollection

    if not len(edges.weights):
        style.show_message(axes, tokens.MASKED)
        return
    along = np.linspace(0, 1, _POINTS)
    rise = along**2 * (3 - 2 * along)  # level at both ends
    first = starts[np.searchsorted(edges.queries, edges.starts)][:, None]
    last = ends[np.searchsorted(edges.keys, edges.ends)][:, None]
    heights = first + (last - first) * rise
    curves = np.stack([np.broadcast_to(along, heights.shape), heights], axis=2)
    widths, opacities = _looks(edges.weights)
    axes.add_collection(
        LineCollection(
            list(curves), linewidths=widths, colors=_COLOR, alpha=opacities, capstyle="butt", label="weights"
        )
    )


def _looks(weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Choose widths in points and opacities, both by the weight as a share of the largest."""
    shares = weights.astype(np.float64) / max(float(weights.max(initial=0)), 1e-30)
    return np.maximum(_WIDEST * shares, _THINNEST), _FAINTEST + (0.9 - _FAINTEST) * shares


def _prepare(axes: Axes, count: int) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _name(
    axes: Axes, places: NDArray[np.float64], labels: Sequence[str], is_masked: NDArray[np.bool_]
) -> None:
    named = list(layers.thinned(len(labels), _MAX_NAMED)) if labels else []
    size = style.TICK_SIZE if len(labels) <= _FEW else style.SMALL_SIZE
    axes.set_yticks(places[named], labels=[labels[at] for at in named], fontsize=size)
    axes.tick_params("y", length=0, colors=style.INK)
    for at, label in zip(named, axes.get_yticklabels(), strict=True):
        if is_masked[at]:
            label.set_color(_MASKED_COLOR)


def _entries(weights: Weights) -> list[style.LegendEntry]:
    """Make a legend of a few weights: the largest, a half and a tenth of it."""
    from matplotlib.lines import Line2D

    if not len(weights):
        return []
    shown = float(weights.max()) * np.array([1.0, 0.5, 0.1], dtype=np.float32)
    looks = zip(*_looks(shown), shown, strict=True)
    return [
        (Line2D([], [], color=_COLOR, linewidth=width, alpha=opacity), f"weight {weight:.2g}")
        for width, opacity, weight in looks
    ]
