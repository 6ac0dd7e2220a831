"""How alike the heads of a layer are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.head_similarity import HeadSimilarity
from pochi_cli.plots import attention_tokens as tokens
from pochi_cli.plots import layers, norms, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_MAX_NUMBERED = 16
"""Heads up to which each cell has its number; beyond, they could not be read."""
_FEW = 8
"""Heads up to which the numbers are large."""
_MAX_NAMES = 16
_HEIGHT = 5.9
_WIDTH = 12.6  # inches


class _Measure(NamedTuple):
    """How one of the two measures is drawn.

    Attributes:
        name: With its unit.
        colors: Name of the map.
        least: Where it begins; it ends at 1.
        dark: Distance from the map's middle, from which the colours are dark; for one that is not diverging
            the value below which they are.
    """

    name: str
    colors: str
    least: float
    dark: float

    def is_dark(self, values: Array) -> NDArray[np.bool_]:
        """Find the cells on which a number is white."""
        return np.abs(values) > self.dark if self.least < 0 else values < self.dark


_CORRELATION = _Measure("Correlation of the weights less their row's mean", "RdBu_r", -1.0, 0.65)
_DIVERGENCE = _Measure("Jensen-Shannon divergence (bit)", "viridis", 0.0, 0.6)


def draw_similarity(similarity: HeadSimilarity, title: str) -> Figure:
    """Draw the correlation and the divergence of each pair of heads, and frame the redundant pairs.

    Args:
        similarity: The two matrices.
        title: What it is of, such as the layer, as it is.
    """
    title = style.drawable(title, tokens.MAX_TITLE)
    figure, panels = style.new_panels(1, 2, (_WIDTH, _HEIGHT))
    figure.suptitle(title, fontsize=tokens.title_size(figure, title, 0.95 * _WIDTH), color=style.INK)
    for axes, values, measure in zip(
        panels,
        (similarity.correlation, similarity.divergence),
        (_CORRELATION, _DIVERGENCE),
        strict=True,
    ):
        _draw_measure(figure, axes, values, measure)
        _frame(axes, similarity.redundant)
    panels[0].set_title(_count(similarity), loc="left", fontsize=style.LABEL_SIZE, color=style.INK)
    return figure


def _draw_measure(figure: Figure, axes: Axes, values: Array, measure: _Measure) -> None:
    count = len(values)
    image = axes.imshow(
        values, cmap=measure.colors, vmin=measure.least, vmax=1, interpolation="nearest", aspect="auto"
    )
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    named = list(layers.thinned(count, _MAX_NAMES))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(named, labels=[str(head + 1) for head in named])
        axis.set_tick_params(length=2)
    axes.set_xlabel("Head", fontsize=style.LABEL_SIZE, color=style.INK)
    style.set_label(axes, "Head")
    style.set_label(layers.add_color_bar(figure, axes, image).ax, measure.name)
    if count <= _MAX_NUMBERED:
        _write_numbers(axes, values, measure.is_dark(values))


def _write_numbers(axes: Axes, values: Array, is_dark: NDArray[np.bool_]) -> None:
    count = len(values)
    size = style.TICK_SIZE if count <= _FEW else style.SMALL_SIZE
    for row, column in np.ndindex(*values.shape):
        axes.text(
            column,
            row,
            _number(float(values[row, column]), is_short=count > _FEW),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if is_dark[row, column] else style.BLACK,
        )


def _number(value: float, *, is_short: bool) -> str:
    """Write two decimals, of many numbers without the 0 before them."""
    text = f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")
    return text.replace("0.", ".", 1) if is_short and abs(value) < 0.995 else text


def _frame(axes: Axes, pairs: tuple[tuple[int, int], ...]) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    corners = [(column - 0.5, row - 0.5) for a, b in pairs for column, row in ((a, b), (b, a))]
    frames = [Rectangle(corner, 1, 1) for corner in corners]
    axes.add_collection(
        PatchCollection(frames, facecolor="none", edgecolor=style.ORANGE, linewidth=2.5, label="redundant")
    )


def _count(similarity: HeadSimilarity) -> str:
    count = len(similarity.redundant)
    if not count:
        return "no pair of heads is redundant"
    return f"{norms.counted(count, 'redundant pair')}, framed"
