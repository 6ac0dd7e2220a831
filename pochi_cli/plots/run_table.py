"""A table of runs in a picture, which is the legend of their colours, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import east_asian_width

from pochi_cli.plots import style
from pochi_cli.runs.run_table import TableRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE = 0.25
"""Inches from a row to the next."""
_MOST_ROWS = 48
_MOST_NAME = 40
_MOST_CELL = 26
_NOTE = 230
"""Characters of a note."""
_SAMPLE = 0.026
"""Share of the width that a sample of a colour takes."""
_GAP = 2
"""Characters between columns."""
_CHARACTER = 0.0082
"""Inches that a character is wide on average, bold, for each point of its size."""


class RunTable(NamedTuple):
    """What stands in the table.

    Attributes:
        header: Names of the columns.
        rows: Runs, or groups of them.
        looks: Colour and dashes of each.
        notes: Sentences below.
    """

    header: tuple[str, ...]
    rows: tuple[TableRow, ...]
    looks: list[tuple[str, str]]
    notes: list[str]


def table_height(table: RunTable) -> float:
    """Reckon the height of the table in inches."""
    lines = min(len(table.rows), _MOST_ROWS + 1) + 1.5 + len(table.notes) * 1.1
    return 0.2 + _LINE * lines


def draw_run_table(axes: Axes, table: RunTable, size: tuple[float, float]) -> None:
    """Write the table; of very many rows the first, and how many more there are.

    Args:
        axes: Where.
        table: What stands in it.
        size: Inches of the axes.
    """
    width, height = size
    rows = [
        TableRow((style.drawable(row.cells[0], _MOST_NAME), *_drawable(row.cells[1:])), row.is_best)
        for row in table.rows[:_MOST_ROWS]
    ]
    columns = list(zip(table.header, *(row.cells for row in rows), strict=True))
    needed = [_GAP + max(map(_cells, column)) for column in columns]
    font = min(style.LABEL_SIZE, (1 - _SAMPLE) * width / (sum(needed) * _CHARACTER))
    ends = [_SAMPLE + (1 - _SAMPLE) * end / sum(needed) for end in accumulate(needed)]
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)
    _write_row(axes, 0.16, table.header, ends, font, is_bold=True)
    y = 0.27
    axes.plot([0, 1], [y, y], color="#999999", linewidth=0.8, label="_rule")
    for row, (color, dashes) in zip(rows, table.looks, strict=False):
        y += _LINE
        axes.plot(
            [0, 0.75 * _SAMPLE],
            [y - 0.06] * 2,
            color=color,
            linestyle=dashes,
            linewidth=2.6,
            label="_sample",
        )
        _write_row(axes, y, row.cells, ends, font, is_bold=row.is_best)
    if (more := len(table.rows) - _MOST_ROWS) > 0:
        y += _LINE
        axes.text(_SAMPLE, y, f"and {more:,} more", fontsize=font, color=style.INK)
    for note in table.notes:
        y += 1.1 * _LINE
        text = style.drawable(note, _NOTE)
        axes.text(0, y + 0.05, text, fontsize=style.LABEL_SIZE, color=style.INK, style="italic")


def _drawable(cells: Sequence[str]) -> Iterator[str]:
    return (style.drawable(cell, _MOST_CELL) for cell in cells)


def _cells(text: str) -> int:
    """Count the Latin characters that a text is as wide as."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _write_row(
    axes: Axes, y: float, cells: Sequence[str], ends: Sequence[float], font: float, *, is_bold: bool
) -> None:
    for place, (end, cell) in enumerate(zip(ends, cells, strict=True)):
        axes.text(
            end if place else _SAMPLE,
            y,
            cell,
            fontsize=font,
            color=style.BLACK,
            ha="right" if place else "left",
            weight="bold" if is_bold else "normal",
        )
