"""What the pictures of attention share: the weights they show, axes of tokens, and colours of weights."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.attention_record import CLASS_NAME, AttentionLayer, PatchGrid, Weights
from pochi_cli.plots import layers, norms, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

QUERY, KEY = "Query (attending from)", "Key (attended to)"
MASKED = "every key is masked"
BY_PLACE = ", patches by row,column"
MAX_TOKEN = 20
"""Characters of a token that are drawn."""
LINE = 0.15
"""Inches from a line of the smallest text to the next."""

TITLE_SIZE = 14
MAX_TITLE = 90
"""Characters of a title that are drawn."""

_CHARACTER = 0.084
"""Inches of a character of a label, about."""
_FEW_PATCHES = 26
"""Up to here every patch is named; beyond, every row of patches."""
_ROOTS = {2: "square", 3: "cube", 4: "fourth"}
_LEAST_SHADE = 0.15
"""Of the range of colours, what the median weight is worth at least."""
_COLORS = "Blues"
_MASKED_COLOR, _HATCH_COLOR = "#E2E2E2", "#A0A0A0"


class TokenTicks(NamedTuple):
    """Where an axis of tokens has names, and lines between its rows of patches.

    Attributes:
        places: Of the names, in tokens.
        labels: One for each place.
        borders: Between the rows of patches; empty where tokens are named one by one.
        step: 1 where each token or row is named, 2 where every second is, and so on.
    """

    places: list[float]
    labels: list[str]
    borders: list[float]
    step: int


def head_weights(layer: AttentionLayer, head: int | None, window: int) -> Weights:
    """Choose the weights of a head, from 0, or of the mean over heads: float32 (queries, keys)."""
    heads = layer.weights[window]
    return np.asarray(heads.mean(axis=0) if head is None else heads[head])


def describe(layer: AttentionLayer, head: int | None, window: int) -> str:
    """Say in words which weights are drawn; they are safe to draw."""
    which = f"mean over {layer.heads} heads" if head is None else f"head {head + 1} of {layer.heads}"
    return f"{describe_layer(layer, window)}, {which if layer.heads > 1 else 'its only head'}"


def describe_layer(layer: AttentionLayer, window: int) -> str:
    """Name the layer, the window where there are several, and the number of tokens."""
    windows, _, queries, keys = layer.weights.shape
    name = style.drawable(layer.name, 60)
    if windows > 1:
        name += f", window {window + 1} of {windows}"
    if layer.is_self_attention:
        return f"{name}, {norms.counted(queries, 'token')}"
    return f"{name}, {queries} queries, {keys} keys"


def token_labels(layer: AttentionLayer, window: int) -> tuple[list[str], list[str]]:
    """Write the names of the queries and of the keys so that they can be drawn."""
    queries, keys = layer.names(window)
    return [_drawable(name) for name in queries], [_drawable(name) for name in keys]


def _drawable(name: str) -> str:
    return style.drawable(name, MAX_TOKEN)


def token_ticks(labels: Sequence[str], grid: PatchGrid | None, window: int, room: float) -> TokenTicks:
    """Choose what an axis of so many inches names: tokens, or of many patches their rows.

    Args:
        labels: The tokens' names, safe to draw.
        grid: Where they lie on the image; `None` for text.
        window: Which window it is.
        room: Length of the axis.
    """
    if grid is not None and len(labels) > _FEW_PATCHES:
        return _row_ticks(grid, window, room)
    named = layers.thinned(len(labels), max(int(room / LINE), 1))
    return TokenTicks([float(at) for at in named], [labels[at] for at in named], [], named.step)


def _row_ticks(grid: PatchGrid, window: int, room: float) -> TokenTicks:
    """Name the rows of patches, each at its middle, so that none touches the class token's name."""
    width = grid.columns if grid.window is None else grid.window[1]
    rows = grid.patches(window)[grid.prefix :].reshape(-1, width).max(axis=1)
    starts = grid.prefix + width * np.arange(len(rows))
    apart = LINE * grid.tokens / room
    step = max(int(np.ceil(apart / width)), 1)
    middles = starts + (width - 1) / 2
    named = [at for at in range(0, len(rows), step) if grid.prefix == 0 or middles[at] >= apart]
    places = [(grid.prefix - 1) / 2] * bool(grid.prefix) + [float(middles[at]) for at in named]
    names = [f"row {rows[at] // grid.columns + 1}" if rows[at] >= 0 else "padding" for at in named]
    borders = [float(start) - 0.5 for start in starts if start > 0]
    return TokenTicks(places, [_prefix_name(grid.prefix)] * bool(grid.prefix) + names, borders, step)


def _prefix_name(prefix: int) -> str:
    return CLASS_NAME if prefix == 1 else f"{CLASS_NAME} + {prefix - 1}"


def set_token_axis(axis: Axis, ticks: TokenTicks, size: float) -> None:
    """Put names, in points, on an axis, and lines between the rows of patches."""
    axis.set_ticks(ticks.places, labels=ticks.labels, fontsize=size)
    axis.set_tick_params(length=0 if ticks.borders else 2)
    if ticks.borders:
        axis.set_ticks(ticks.borders, minor=True)
        axis.set_tick_params(which="minor", length=4)


def axis_name(name: str, ticks: TokenTicks, grid: PatchGrid | None) -> str:
    """Name an axis, and say where not every word has its name, and how patches are named one by one."""
    if ticks.borders:
        return name  # rows of patches have numbers to tell by
    said = name if ticks.step == 1 else f"{name}, 1 in {ticks.step} is named"
    return said if grid is None else f"{said}{BY_PLACE}"


def fits_beside(ticks: TokenTicks, tokens: int, widest: float, room: float) -> bool:
    """Whether names find room beside each other; the widest of them and the axis, `room`, in inches."""
    gaps = np.diff(ticks.places)
    return not gaps.size or 1.15 * widest < gaps.min() * room / tokens


def widest(figure: Figure, labels: Sequence[str], size: float) -> float:
    """Measure the widest name, written in a size in points: inches."""
    drawn = figure.text(0, 0, "", fontsize=size)
    widths = []
    for label in dict.fromkeys(labels):
        drawn.set_text(label)
        widths.append(drawn.get_window_extent().width / figure.dpi if label.strip() else 0.0)
    drawn.remove()
    return max(widths, default=0.0)


def title_size(figure: Figure, title: str, room: float) -> float:
    """Choose, in points, how large a title may be that has so many inches."""
    return TITLE_SIZE * min(1.0, room / max(widest(figure, [title], TITLE_SIZE), room))


def wrapped(text: str, inches: float) -> str:
    """Break a text of the size of labels into lines of so many inches, about."""
    return "\n".join(wrap(text, int(inches / _CHARACTER), break_long_words=False))


class WeightScale(NamedTuple):
    """How weights become colours: by a root, so that small ones are seen beside a large one.

    Attributes:
        largest: Where the scale ends that begins at 0.
        root: 2 for the square root, and so on.
    """

    largest: float
    root: int

    @property
    def name(self) -> str:
        """What the scale is of, with its root."""
        return f"Attention weight (colour by its {_ROOTS[self.root]} root)"


def weight_scale(weights: Weights) -> WeightScale:
    """Choose a scale on which the median is seen, even beside a column of the class token's.

    Args:
        weights: float32 of any shape, at least 0 or NaN.
    """
    positive = weights[weights > 0]  # neither masked by a weight of 0 nor in a row that is NaN
    if not positive.size:
        return WeightScale(1.0, 2)
    largest = float(positive.max())
    share = float(np.median(positive)) / largest
    return WeightScale(
        largest, next((root for root in _ROOTS if share ** (1 / root) >= _LEAST_SHADE), max(_ROOTS))
    )


def label_bar(bar: Colorbar, scale: WeightScale) -> None:
    """Name a bar of weights, and round weights evenly along it, the largest as it is."""
    values = [float(f"{scale.largest * share**scale.root:.1g}") for share in (0.2, 0.4, 0.6, 0.8)]
    ticks = [0.0, *dict.fromkeys(value for value in values if value < 0.85 * scale.largest), scale.largest]
    bar.set_ticks(ticks, labels=[f"{weight:.2g}" for weight in ticks], fontsize=style.TICK_SIZE)
    bar.ax.tick_params(which="both", colors=style.INK)
    bar.ax.tick_params(which="minor", length=0)
    style.set_label(bar.ax, scale.name)


def draw_weights(axes: Axes, weights: Weights, scale: WeightScale) -> AxesImage:
    """Draw weights as a heat map, queries down and keys across; rows that are NaN are hatched."""
    from matplotlib.colors import PowerNorm

    is_masked = np.isnan(weights)
    norm = PowerNorm(1 / scale.root, 0, scale.largest)
    # No interpolation is asked for: of many tokens in a small panel none is left out, they are averaged.
    image = axes.imshow(np.ma.masked_array(weights, is_masked), cmap=_COLORS, norm=norm, aspect="auto")
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    for first, end in _runs(np.all(is_masked, axis=1)):
        axes.axhspan(
            first - 0.5,
            end - 0.5,
            facecolor=_MASKED_COLOR,
            edgecolor=_HATCH_COLOR,
            hatch="////",
            linewidth=0,
            label=MASKED,
        )
    return image


def _runs(is_there: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Find what lies together: pairs of the first and the end, which does not belong to it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_there, [False]]).astype(np.int8)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]
