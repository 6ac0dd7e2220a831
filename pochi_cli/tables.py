"""Tables made to measure, for the console to print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from pochi_cli.characters import visible_lines
from pochi_cli.config.diagnostics import Line, Role

STYLES: dict[Role, str] = {
    "error": "bold red",
    "warning": "bold yellow",
    "title": "bold",
    "gutter": "blue",
    "source": "",
    "help": "cyan",
    "note": "bold",
}
_GAP = 2
"""Columns of the terminal between those of a table."""
_LEAST_CELL = 11
"""What is left of a cell that is cut."""
_WIDEST_CELL = 22
"""What a cell may ask for before it is folded, where the terminal cannot hold all."""


def plain(text: str, style: str = "") -> Text:
    """Make a text that gives the terminal no orders, and in which no markup is looked for."""
    return Text(visible_lines(text), style)


def styled(lines: Iterable[Line]) -> Text:
    """Colour lines by what their pieces are, and end each."""
    text = Text()
    for line in lines:
        for fragment, role in line:
            text.append(fragment, STYLES[role])
        text.append("\n")
    return text


def fitting_widths(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    shortened: Sequence[str],
    left_out: Sequence[str],
    room: int | None,
) -> dict[str, int]:
    """Choose the columns that a terminal has room for, and their widths.

    Args:
        header: Names of the columns.
        rows: As many cells each.
        shortened: Columns that may be cut, in this order.
        left_out: Columns to leave out, in this order, where that does not suffice.
        room: Width of the terminal; `None` where there is room for everything.
    """
    widths = dict(zip(header, _widths([header, *rows]), strict=True))
    if room is None:
        return widths
    least = {name: min(width, _LEAST_CELL) if name in shortened else width for name, width in widths.items()}
    for name in left_out:
        if _total(least) > room:
            del widths[name], least[name]
    for name in shortened:
        if name in widths:
            widths[name] = max(least[name], widths[name] - max(_total(widths) - room, 0))
    return widths


def listing(
    header: Sequence[str], rows: Sequence[Sequence[str]], widths: Mapping[str, int], right: Sequence[str]
) -> Text:
    """Make a table of one line for each row.

    Of a thousand lines rich would make a table in more time than it takes to read the runs they are about.

    Args:
        header: Names of the columns.
        rows: As many cells each, of one line.
        widths: The columns to show, and their widths.
        right: Columns that are aligned to the right.
    """
    shown = [(at, widths[name], name in right) for at, name in enumerate(header) if name in widths]

    def line(row: Sequence[str]) -> str:
        cells = (fitted(visible_lines(row[at]), width, right=is_right) for at, width, is_right in shown)
        return (" " * _GAP).join(cells).rstrip()

    text = Text().append(f"{line(header)}\n", "bold").append("─" * _total(widths))
    return text.append("".join(f"\n{line(row)}" for row in rows))


def column_tables(
    header: Sequence[str], rows: Sequence[Sequence[str]], room: int | None
) -> Iterator[tuple[Table, int]]:
    """Make tables with the names of the rows and as many columns as a terminal has room for.

    Args:
        header: Names of the columns after the first.
        rows: The name of a row, and a cell for each column.
        room: Width of the terminal; `None` where there is room for everything.

    Yields:
        A table, and the width that shows it unfolded.
    """
    cells = [("", *header), *rows]
    widths = _widths(cells)
    names = widths[0] if room is None else min(widths[0], room // 2)
    for block in _blocks(cells[0], widths, room, names):
        table = Table(box=SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
        table.add_column(overflow="fold", width=names)
        for at in block:
            table.add_column(plain(cells[0][at]), overflow="fold", min_width=cell_len(cells[0][at]))
        for row in rows:
            table.add_row(plain(row[0]), *(plain(row[at]) for at in block))
        yield table, sum(widths) + _GAP * len(widths)


def _blocks(header: Sequence[str], widths: Sequence[int], room: int | None, names: int) -> list[list[int]]:
    """Divide the positions of columns by what fits beside the names of the rows; at least one always does."""
    if room is None:
        return [list(range(1, len(widths)))]
    blocks: list[list[int]] = [[]]
    left = room - names
    for at, width in enumerate(widths[1:], start=1):
        # A long value is folded rather than given a table of its own, but a run's name stays whole.
        needed = _GAP + max(min(width, _WIDEST_CELL), cell_len(header[at]))
        if blocks[-1] and needed > left:
            blocks.append([])
            left = room - names
        blocks[-1].append(at)
        left -= needed
    return blocks


def fitted(text: str, width: int, *, right: bool) -> str:
    """Cut or fill a text of one line to a width."""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    filling = " " * (width - cell_len(text))
    return filling + text if right else text + filling


def shortened(text: str, width: int) -> str:
    """Take the middle out of a long text of one line: names of parameters differ at both ends."""
    if cell_len(text) <= width:
        return text
    end = set_cell_size(text[::-1], (width - 1) // 2)[::-1]
    return set_cell_size(text, width - 1 - cell_len(end)) + "…" + end


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Measure the columns of a table: the longest line of each."""
    return [
        max(cell_len(line) for cell in column for line in visible_lines(cell).split("\n"))
        for column in zip(*rows, strict=True)
    ]
