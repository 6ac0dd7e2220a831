"""The confusion matrix: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pochi_cli.config.recording import ConfusionMatrixConfig
from pochi_cli.plots import layers, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.text import Text

Counts = NDArray[np.int64]

_MAX_SIZE = 20.0
"""To which a figure grows for many classes, in inches."""
_LEAST_MATRIX = 1.8  # inches
_ROW_HEIGHT = 0.16  # inches: a line of the smallest text with room
_LEAST_NUMBER = 5.0
"""Points: smaller numbers cannot be read."""
_MAX_ZEROS = 20
"""Classes with whose number cells of 0 have one; beyond, they would hide the others."""
_MAX_BORDERED = 120
"""Classes with whose number cells have borders; beyond, those would cover the cells."""
_MAX_TITLE, _MAX_AXIS_NAME = 120, 80  # characters
_BAR_TICKS = (0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1)
_EMPTY_COLOR, _HATCH_COLOR = "#E2E2E2", "#A0A0A0"
_POINTS = 72  # to the inch


class _Room(NamedTuple):
    """Inches along the two sides of something."""

    width: float
    height: float


class _Plan(NamedTuple):
    """How the picture is laid out.

    Attributes:
        figure: All of it.
        matrix: What is left for the matrix, about.
        column_size: Of the columns' names, in points; `None` where they fit only upwards.
    """

    figure: _Room
    matrix: _Room
    column_size: float | None


def draw_confusion(counts: Counts, class_names: Sequence[str], config: ConfusionMatrixConfig) -> Figure:
    """Draw the images by true class (rows) and predicted class (columns).

    The colour of a cell goes by its share of the row, so that rare classes are read as easily as others, and
    by the root of it, so that a few mistakes are seen. A row without images is hatched. The figure becomes
    larger than configured where many classes need it.

    Args:
        counts: Images, (K, K).
        class_names: K names.
        config: The texts with their sizes, and the colours.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # All texts first: one may add a font, which only what is made afterwards is drawn in.
    title = style.drawable(config.title, _MAX_TITLE)
    axis_names = [style.drawable(text, _MAX_AXIS_NAME) for text in (config.xlabel, config.ylabel)]
    names = layers.layer_labels(class_names)
    figure, axes = style.new_axes(config.figsize)
    FigureCanvasAgg(figure)  # else every text would be measured on a new canvas
    plan = _plan(figure, counts, names, config)
    figure.set_size_inches(plan.figure)
    image = _draw_shares(figure, axes, counts, config.cmap, plan.matrix.height)
    _name_classes(axes, names, plan)
    _name_axes(axes, axis_names, plan.matrix, config.label_fontsize)
    heading = figure.suptitle(title, fontsize=config.title_fontsize, fontweight="bold", color=style.INK)
    _shrink(heading, 0.96 * figure.get_figwidth())
    # The numbers are as large as the cells allow, which are known when all else has its place.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    _write_numbers(figure, axes, image, counts, config.fontsize)
    return figure


def _measure(figure: Figure, text: str, size: float) -> _Room:
    drawn = figure.text(0, 0, text, fontsize=size)
    box = drawn.get_window_extent()
    drawn.remove()
    return _Room(box.width / style.DPI, box.height / style.DPI)


def _plan(figure: Figure, counts: Counts, names: Sequence[str], config: ConfusionMatrixConfig) -> _Plan:
    """Reckon how large the picture must be, with a bar of colours and all texts around the matrix."""
    count, line = len(names), 1.5 / _POINTS
    widest = max(_measure(figure, name, style.TICK_SIZE).width for name in names)
    number = _measure(figure, f"{counts.max():,}", style.SMALL_SIZE)
    beside = 1.5 + widest + line * config.label_fontsize
    width = _side(config.figsize[0], beside, count * max(1.3 * number.width, _ROW_HEIGHT))
    room = (width - beside) / count
    fitting = [
        size for size in (style.TICK_SIZE, style.SMALL_SIZE) if 1.05 * widest * size / style.TICK_SIZE <= room
    ]
    above = 0.75 + line * (config.label_fontsize + config.title_fontsize) + (0 if fitting else widest)
    height = _side(config.figsize[1], above, count * _ROW_HEIGHT)
    return _Plan(
        figure=_Room(width, height),
        matrix=_Room(width - beside, height - above),
        column_size=fitting[0] if fitting else None,
    )


def _side(configured: float, around: float, matrix: float) -> float:
    return max(configured, min(around + max(matrix, _LEAST_MATRIX), _MAX_SIZE))


def _draw_shares(figure: Figure, axes: Axes, counts: Counts, cmap: str, height: float) -> AxesImage:
    from matplotlib.colors import PowerNorm

    count = len(counts)
    images = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(counts / np.maximum(images, 1), np.broadcast_to(images == 0, counts.shape))
    image = axes.imshow(shares, cmap=cmap, norm=PowerNorm(0.5, 0, 1), aspect="auto", interpolation="nearest")
    axes.grid(visible=False)
    axes.spines[["top", "right"]].set_visible(True)
    if count <= _MAX_BORDERED:
        borders, width = np.arange(1, count) - 0.5, 0.8 if count <= _MAX_ZEROS else 0.25
        axes.hlines(borders, -0.5, count - 0.5, color=style.GRID_COLOR, linewidth=width)
        axes.vlines(borders, -0.5, count - 0.5, color=style.GRID_COLOR, linewidth=width)
    bar = layers.add_color_bar(figure, axes, image)
    bar.set_ticks(_BAR_TICKS, labels=[f"{100 * share:.0f} %" for share in _BAR_TICKS])
    style.set_label(bar.ax, "Share of the images of the true class (row)")
    _shrink(bar.ax.yaxis.label, height)
    _hatch_empty(axes, np.flatnonzero(images == 0))
    return image


def _hatch_empty(axes: Axes, rows: NDArray[np.intp]) -> None:
    spans = [
        axes.axhspan(
            row - 0.5, row + 0.5, facecolor=_EMPTY_COLOR, edgecolor=_HATCH_COLOR, hatch="////", linewidth=0
        )
        for row in rows
    ]
    if spans:
        axes.legend(
            spans[:1],
            ["no images"],
            loc="lower right",
            bbox_to_anchor=(1, 1.0),
            borderaxespad=0,
            frameon=False,
            fontsize=style.TICK_SIZE,
            labelcolor=style.INK,
        )


def _name_classes(axes: Axes, names: Sequence[str], plan: _Plan) -> None:
    """Name rows and columns; of very many every second, third, ..."""
    _set_ticks(axes.yaxis, names, plan.matrix.height)
    if plan.column_size is None:
        _set_ticks(axes.xaxis, names, plan.matrix.width)
        axes.tick_params("x", labelrotation=90)
    else:
        axes.set_xticks(range(len(names)), labels=names, fontsize=plan.column_size)
        axes.tick_params("x", length=2)


def _set_ticks(axis: Axis, names: Sequence[str], room: float) -> None:
    named = layers.thinned(len(names), max(int(room / _ROW_HEIGHT), 1))
    is_small = room / len(names) < 0.2
    axis.set_ticks(
        list(named),
        labels=[names[index] for index in named],
        fontsize=style.SMALL_SIZE if is_small else style.TICK_SIZE,
    )
    axis.set_tick_params(length=2)


def _name_axes(axes: Axes, texts: Sequence[str], matrix: _Room, size: float) -> None:
    for axis, text, room in zip((axes.xaxis, axes.yaxis), texts, matrix, strict=True):
        ticks = axis.get_majorticklocs()
        step = int(ticks[1] - ticks[0]) if len(ticks) > 1 else 1
        told = text if step == 1 else f"{text} (1 in {step} is named)"
        _shrink(axis.set_label_text(told, fontsize=size, color=style.INK), room)


def _shrink(text: Text, room: float) -> None:
    """Make a text, written along or upwards, no longer than so many inches."""
    box = text.get_window_extent()
    length = max(box.width, box.height) / style.DPI
    text.set_fontsize(float(text.get_fontsize()) * (room / max(length, room)))


def _write_numbers(figure: Figure, axes: Axes, image: AxesImage, counts: Counts, most: float) -> None:
    """Write the number of images into each cell, so small that all fit, or none where none could be read."""
    box = axes.get_window_extent()
    cell = _Room(*(side / style.DPI / len(counts) for side in (box.width, box.height)))
    number = _measure(figure, f"{counts.max():,}", most)  # the longest
    size = most * min(0.8 * cell.width / number.width, 0.75 * cell.height / number.height, 1)
    if size < min(_LEAST_NUMBER, most):
        return
    is_shown = (counts > 0) | ((len(counts) <= _MAX_ZEROS) & (counts.sum(axis=1, keepdims=True) > 0))
    is_dark = _luminance(image) < 0.2  # white has more contrast there than `style.BLACK`
    for row, column in np.argwhere(is_shown):
        axes.text(
            column,
            row,
            f"{counts[row, column]:,}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if is_dark[row, column] else style.BLACK,
        )


def _luminance(image: AxesImage) -> NDArray[np.float64]:
    """Compute the relative luminance of each cell, 0 to 1 (WCAG 2.1)."""
    shares = image.get_array()
    assert shares is not None
    colors = image.to_rgba(shares)[..., :3]
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ (0.2126, 0.7152, 0.0722))
