"""What pictures of many layers share: colours, names, and an axis of names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, NamedTuple

from pochi_cli.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MAX_LEGEND = 12
"""Up to here layers are told apart by colours of their own; beyond, by their place on a ramp."""
_MAX_BAR_LABELS = 36
_MAX_ROW_LABELS = 54  # each costs milliseconds in each of many pictures
_MAX_COLUMN_LABELS = 42
_FEW_CHARACTERS = 60
"""Of all names together, beside each other in half a picture's width."""
_LENGTHS = (style.MAX_NAME, 36, 40, 44, 48)
"""Characters of a name that is cut in the middle: as few as tell all apart."""
_MAX_HEIGHT = 12.0  # inches
_ROW_HEIGHT = 0.16  # inches: a line of the smallest text with room


class LayerStyle(NamedTuple):
    """How the line of a layer looks."""

    color: str
    dashes: str


def layer_styles(count: int) -> list[LayerStyle]:
    """Choose a look for each of so many layers."""
    if count > MAX_LEGEND:
        return [LayerStyle(color, "-") for color in ramp(count)]
    colors = len(style.PALETTE)
    return [
        LayerStyle(style.PALETTE[index % colors], "-" if index < colors else "--") for index in range(count)
    ]


def ramp(count: int) -> list[str]:
    """Choose colours that show an order."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    # The brightest fifth of the map is hard to see on white.
    colors = colormaps["viridis"]
    return [to_hex(colors(0.85 * index / max(count - 1, 1))) for index in range(count)]


def layer_labels(names: Sequence[str]) -> list[str]:
    """Write names so that they can be drawn.

    Where one is too long all lose the parts that they begin with alike; where two are then the same all get
    their numbers.
    """
    if max(map(len, names), default=0) > style.MAX_NAME and len(names) > 1:
        begun = zip(*(name.split(".")[:-1] for name in names), strict=False)
        shared = sum(len(parts[0]) + 1 for parts in takewhile(lambda parts: len(set(parts)) == 1, begun))
        names = [f"…{name[shared:]}" for name in names] if shared else names
    labels = [style.drawable(name) for name in names]
    if len(set(labels)) < len(labels):
        return [f"{number}: {label}" for number, label in enumerate(labels, start=1)]
    return labels


def name_layers(figure: Figure, axes: Axes, lines: Sequence[Line2D], labels: Sequence[str]) -> None:
    """Name the lines beside the axes: in a legend, or many in their order along a bar of their colours."""
    if len(lines) > MAX_LEGEND:
        _add_layer_bar(figure, axes, lines, labels)
    elif lines:
        add_legend(figure, lines, labels)


def add_legend(figure: Figure, lines: Sequence[Line2D], texts: Sequence[str]) -> None:
    """Add a legend at the right, outside the axes."""
    legend = figure.legend(
        lines, [" "] * len(lines), loc="outside right upper", frameon=False, fontsize=style.TICK_SIZE
    )
    style.fill_legend(legend, texts)


def _add_layer_bar(figure: Figure, axes: Axes, lines: Sequence[Line2D], labels: Sequence[str]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    count = len(lines)
    colors = ListedColormap([line.get_color() for line in lines])
    bar = add_color_bar(figure, axes, ScalarMappable(Normalize(-0.5, count - 0.5), colors))
    bar.ax.invert_yaxis()
    named = thinned(count, _MAX_BAR_LABELS)
    bar.set_ticks(list(named), labels=[labels[index] for index in named])
    bar.ax.tick_params(labelsize=style.SMALL_SIZE, colors=style.INK, length=2)


def add_color_bar(figure: Figure, axes: Axes, colors: ScalarMappable) -> Colorbar:
    """Add a thin bar beside the axes, as high as they are, that tells what colours mean."""
    aspect = 40 * figure.get_figheight() / style.FIGURE_SIZE[1]
    bar = figure.colorbar(colors, ax=axes, fraction=0.04, aspect=aspect, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=style.TICK_SIZE, colors=style.INK, which="both")
    return bar


def thinned(count: int, most: int) -> range:
    """Choose evenly, from the first on, which of many are named."""
    return range(0, count, -(-count // most))


def layer_figure_size(count: int, width: float = style.FIGURE_SIZE[0]) -> tuple[float, float]:
    """Compute the size, in inches, of a figure with a row for each layer."""
    return width, min(max(style.FIGURE_SIZE[1], 1.6 + _ROW_HEIGHT * count), _MAX_HEIGHT)


def set_layer_axis(axes: Axes, names: Sequence[str], labels: Sequence[str] = ()) -> None:
    """Make the vertical axis name the layers, the first on top; of very many every second, third, ...

    Args:
        axes: Of the picture.
        names: The layers'.
        labels: What to write for them; by default what `layer_labels` makes.
    """
    count = len(names)
    named = thinned(count, _MAX_ROW_LABELS)
    labels = labels or layer_labels(names)
    axes.tick_params("y", labelsize=style.TICK_SIZE if count <= 24 else style.SMALL_SIZE, length=2)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_yticks(list(named), labels=[labels[index] for index in named])
    step = named.step
    style.set_label(axes, "Layer" if step == 1 else f"Layer (1 in {step} is named)")


def set_layer_columns(axes: Axes, names: Sequence[str], labels: Sequence[str] = ()) -> None:
    """Make the horizontal axis name the layers; of very many every second, third, ...

    Args:
        axes: Of the picture.
        names: The layers'.
        labels: What to write for them; by default what `layer_labels` makes of their endings.
    """
    count = len(names)
    named = thinned(count, _MAX_COLUMN_LABELS)
    labels = labels or layer_labels([ending(name) for name in names])
    axes.set_xlim(-0.7, count - 0.3)
    is_short = count * max(map(len, labels)) <= _FEW_CHARACTERS
    ticks = [labels[index] for index in named]
    axes.set_xticks(list(named), labels=ticks, rotation=0 if is_short else 90)
    axes.tick_params("x", labelsize=style.TICK_SIZE if count <= 24 else style.SMALL_SIZE, length=2)
    told = "Layer" if named.step == 1 else f"Layer (1 in {named.step} is named)"
    axes.set_xlabel(told, fontsize=style.LABEL_SIZE, color=style.INK)


def distinct_labels(names: Sequence[str]) -> list[str]:
    """Write names so that they can be drawn, long ones without their middle, and so that they differ.

    Where no length up to 48 characters tells all apart they get their numbers.
    """
    for most in _LENGTHS:
        labels = [style.drawable(_without_middle(name, most), most) for name in names]
        if len(set(labels)) == len(labels):
            return labels
    return layer_labels(names)


def _without_middle(name: str, most: int) -> str:
    """Leave of a dotted name the first part, and of its end what there is room for.

    The end begins with a word: a number alone, such as that of `encoder_layer_3`, would not tell of what.
    """
    if len(name) <= most:
        return name
    first = name.partition(".")[0]
    begin = f"{first}…" if len(first) <= most // 4 else "…"
    parts = pairwise(enumerate(name))
    starts = [at for (_, before), (at, character) in parts if before in "._" and not character.isdigit()]
    kept = next((at for at in starts if len(begin) + len(name) - at <= most), None)
    return name if kept is None else begin + name[kept:]


def ending(name: str, most: int = style.MAX_NAME) -> str:
    """Take as many of a dotted name's last parts as there is room for: those tell layers apart."""
    while len(name) > most and "." in name.removeprefix("…"):
        name = f"…{name.partition('.')[2]}"
    return name
