"""Figures of panels that are not all of the same size, and text in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from pochi_cli.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE = 0.25
"""Inches from a line of text to the next."""


class Cell(NamedTuple):
    """Where a panel stands in a grid: a row, and columns from the first up to, but not including, the end."""

    row: int
    first: int
    end: int


def new_grid(
    cells: Sequence[Cell], size: tuple[float, float], height_ratios: Sequence[float]
) -> tuple[Figure, list[Axes]]:
    """Make an empty figure, of a size in inches, with a panel in each cell.

    Args:
        cells: The cells.
        size: Width and height.
        height_ratios: The height of each row.
    """
    figure, (only,) = style.new_panels(1, 1, size)
    only.remove()
    columns = max(cell.end for cell in cells)
    grid = figure.add_gridspec(len(height_ratios), columns, height_ratios=list(height_ratios))
    panels = []
    for cell in cells:
        axes = figure.add_subplot(grid[cell.row, cell.first : cell.end])
        axes.spines[["top", "right"]].set_visible(False)
        style.style_axis(axes)
        axes.grid(color=style.GRID_COLOR, linewidth=0.8)
        axes.set_axisbelow(True)
        panels.append(axes)
    return figure, panels


def write_facts(axes: Axes, title: str, facts: Sequence[tuple[str, str]], width: int, height: float) -> None:
    """Write names and texts in two columns; the axes hold nothing else.

    Args:
        axes: Where.
        title: Their heading.
        facts: Pairs of a name and a text.
        width: Characters of a line of a text.
        height: Inches of the axes.
    """
    style.set_header(axes, title, [])
    axes.set_axis_off()
    step = min(_LINE / height, 1 / max(sum(1 for _ in _lines(facts, width)), 1))
    for place, (name, text) in enumerate(_lines(facts, width)):
        top = 1 - place * step
        for left, words, color in ((0, name, style.INK), (0.29, text, style.BLACK)):
            axes.text(
                left,
                top,
                words,
                transform=axes.transAxes,
                va="top",
                fontsize=style.LABEL_SIZE,
                color=color,
            )


def _lines(facts: Sequence[tuple[str, str]], width: int) -> Iterator[tuple[str, str]]:
    for name, text in facts:
        first, *more = wrap(style.drawable(text, 4 * width), width) or [""]
        yield style.drawable(name), first
        yield from (("", line) for line in more)
