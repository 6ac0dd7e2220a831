"""The look that all graphs share: size, colours, axes, and text drawn as it is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Literal
from unicodedata import east_asian_width

from pochi_cli.plots.fonts import has_glyph

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

DPI = 150
FIGURE_SIZE = (8.0, 5.35)  # inches: about 1200 x 800 pixels

# Okabe and Ito (2008), told apart with every common kind of colour vision; their yellow is too pale on white.
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#E69F00"
SKY = "#56B4E9"
BLACK = "#1A1A1A"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)

TRAIN_COLOR = BLUE
VALIDATION_COLOR = VERMILION
RATE_COLOR = "#6B6B6B"
INK = "#333333"
GRID_COLOR = "#DDDDDD"

LABEL_SIZE = 10
TICK_SIZE = 9
SMALL_SIZE = 7
MARKED_EPOCHS = 30
"""Up to here every epoch has a marker; beyond, they would run together."""
MAX_NAME = 32
"""Characters of a name that are drawn."""

_LEGEND_CHARACTERS = 88
_FEW_LABELS = 24

LegendEntry = tuple["Line2D", str]


def new_axes(size: tuple[float, float] = FIGURE_SIZE) -> tuple[Figure, Axes]:
    """Make an empty figure, of a size in inches, with one pair of axes."""
    figure, (axes,) = new_panels(1, 1, size)
    return figure, axes


def new_panels(
    rows: int, columns: int, size: tuple[float, float], *, share: Literal["col"] | bool = "col"
) -> tuple[Figure, list[Axes]]:
    """Make an empty figure, of a size in inches, with axes row by row.

    Args:
        rows: How many one below the other.
        columns: How many side by side.
        size: Width and height.
        share: Whether the axes of a column share their horizontal one, which is labelled at the bottom.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout=_layout_engine()(w_pad=0.12, h_pad=0.1))
    panels: list[Axes] = list(figure.subplots(rows, columns, sharex=share, squeeze=False).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        style_axis(axes)
        axes.grid(color=GRID_COLOR, linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, panels


@cache
def _layout_engine() -> type[ConstrainedLayoutEngine]:
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    class QuickLayout(ConstrainedLayoutEngine):
        """Measures, of many names along a vertical axis, only those that decide: first, last and widest.

        matplotlib measures each a dozen times, which with 60 names is most of the time of a picture.
        """

        def execute(self, fig: Figure) -> None:
            hidden = [label for axes in fig.axes for label in _undecisive(axes)]
            for label in hidden:
                label.set_visible(False)
            super().execute(fig)
            for label in hidden:
                label.set_visible(True)

    return QuickLayout


def _undecisive(axes: Axes) -> list[Text]:
    labels = [label for label in axes.get_yticklabels() if label.get_visible()]
    if len(labels) <= _FEW_LABELS:
        return []  # numbers, of which some may lie outside the axes
    widest = max(labels, key=lambda label: label.get_window_extent().width, default=None)
    return [label for label in labels[1:-1] if label is not widest]


def style_axis(axes: Axes) -> None:
    """Give the ticks, spines and numbers of axes the common look; numbers carry no shared offset."""
    from matplotlib.ticker import FuncFormatter

    axes.tick_params(labelsize=TICK_SIZE, colors=INK, which="both")
    axes.spines[:].set_color("#999999")
    # An offset such as 1e-5 would stand above the axis, where the legend is.
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.8g}"))


def style_log_axis(axes: Axes) -> None:
    """Give a logarithmic vertical axis numbers, also between the decades when it spans few."""
    from matplotlib.ticker import LogFormatterSciNotation

    axes.yaxis.set_major_formatter(LogFormatterSciNotation())
    axes.yaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(2, 0.5)))


def set_label(axes: Axes, text: str, color: str = INK) -> None:
    """Name the vertical axis, with its unit."""
    axes.set_ylabel(text, fontsize=LABEL_SIZE, color=color)


def set_epoch_axis(axes: Axes, epochs: Sequence[int]) -> None:
    """Make the horizontal axis count whole epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("Epoch", fontsize=LABEL_SIZE, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    first, last = (epochs[0], epochs[-1]) if epochs else (1, 1)
    axes.set_xlim(first - 0.5, last + max(0.5, 0.01 * (last - first)))


def set_header(
    axes: Axes, title: str, entries: Sequence[LegendEntry], characters: int = _LEGEND_CHARACTERS
) -> None:
    """Write the title and below it, outside the data, the legend in as many rows as it needs.

    Args:
        axes: Where.
        title: The title.
        entries: Of the legend.
        characters: How many a row of it has room for.
    """
    columns = max(len(entries), 1)
    while columns > 1 and _row_width([text for _, text in entries], columns) > characters:
        columns -= 1
    rows = -(-len(entries) // columns)
    columns = -(-len(entries) // rows) if rows else 1  # all but the last full, as was reckoned
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=8 + 15 * rows)
    if entries:
        fill_legend(
            axes.legend(
                [line for line, _ in entries],
                [" "] * len(entries),
                loc="lower left",
                bbox_to_anchor=(0, 1.005),
                borderaxespad=0,
                borderpad=0.2,
                ncols=columns,
                columnspacing=1.6,
                frameon=False,
                fontsize=TICK_SIZE,
            ),
            [text for _, text in entries],
        )


def _row_width(texts: Sequence[str], columns: int) -> int:
    """Count the characters of the widest row; a legend fills its columns from top to bottom."""
    rows = -(-len(texts) // columns)
    handle = 6
    return sum(
        max(len(text) + handle for text in texts[start : start + rows])
        for start in range(0, len(texts), rows)
    )


def fill_legend(legend: Legend, texts: Sequence[str]) -> None:
    """Set the texts of a legend.

    Afterwards, because matplotlib leaves out labels that begin with an underscore.
    """
    for entry, text in zip(legend.get_texts(), texts, strict=True):
        entry.set_text(text)
        entry.set_color(INK)


def marked(is_present: Sequence[bool]) -> list[int]:
    """Choose the points with a marker: all of a short curve, else those without neighbours to join with."""
    if len(is_present) <= MARKED_EPOCHS:
        return list(range(len(is_present)))
    joined = [False, *is_present, False]
    return [
        index
        for index, is_there in enumerate(is_present)
        if is_there and not joined[index] and not joined[index + 2]
    ]


def ring(axes: Axes, x: float, y: float) -> Line2D:
    """Ring a value, such as the best."""
    (line,) = axes.plot(
        [x],
        [y],
        linestyle="none",
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=BLACK,
        markeredgewidth=1.6,
        clip_on=False,
        zorder=5,
        label="_best",  # an underscore keeps it out of legends that are made by themselves
    )
    return line


def show_message(axes: Axes, text: str) -> None:
    """Say in the middle of empty axes why they are empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=13, color=INK)
    axes.set_yticks([])


def add_fonts(texts: Iterable[str]) -> None:
    """Add the fonts that texts need, before the figure is made: what is there already keeps the usual one."""
    for character in {character for text in texts for character in text if character.isprintable()}:
        has_glyph(character)


def drawable(text: str, most: int = MAX_NAME) -> str:
    r"""Make a name from outside safe to draw, in one line of bounded length.

    Characters for which no font has a glyph are written as escapes such as `\u65e5`; a dollar sign is
    kept from beginning a formula; a name of more than `most` characters, or that the escapes make so long,
    loses its middle.
    """
    parts = [
        character if character.isprintable() and has_glyph(character) else _escape(character)
        for character in text
    ]
    if sum(map(_width, parts)) > most:
        half = most // 2
        end = _beginning(parts[::-1], half)[::-1]
        parts = [*_beginning(parts, half - 1), "…", *end]
    return "".join(parts).replace("$", r"\$")


def _beginning(parts: Sequence[str], length: int) -> Sequence[str]:
    """Take as many whole parts as fit into a length."""
    count = sum(1 for end in accumulate(map(_width, parts)) if end <= length)
    return parts[:count]


def _width(text: str) -> int:
    """Length in Latin characters: those of Chinese, Japanese and Korean are twice as wide."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
