"""The table of traced gradients, and what was found in them, for a terminal or a log."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pochi_cli.characters import visible
from pochi_cli.findings_text import findings_text
from pochi_cli.inspection.gradient_rows import GradientOverview, GradientRow, choose_rows
from pochi_cli.sparklines import sparkline
from pochi_cli.tables import STYLES, fitted, fitting_widths, listing, shortened

_HEADER = ("block", "norm", "change", "course", "verdict")
_MOST_BARS = 40
"""Length of the courses, where there is room."""
_LEAST_DECADES = 1.0
"""What the height of a course spans at least: the noise of a steady norm shall look steady."""
_HEAD = 3
"""Lines of a table above its rows: title, names of the columns, rule."""


class LiveGradients:
    """The table as part of a live display: no line is folded, and half of the terminal's height is left.

    Args:
        overview: What to show.
    """

    def __init__(self, overview: GradientOverview) -> None:
        self._overview = overview
        self._size = (0, 0)
        self._text = Text()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give the rows that there is room for; nothing where there is none."""
        size = (options.max_width, options.size.height)
        if size != self._size:  # else it is as it was: four times a second, on the cores that train
            self._size, self._text = size, self._draw(*size)
        if self._text and not options.ascii_only:  # escapes in place of the bars would run over the line
            yield self._text

    def _draw(self, width: int, height: int) -> Text:
        """Draw the rows that fit, and say how many are left out."""
        rows = self._overview.rows
        room = height // 2 - _HEAD
        if len(rows) > room:
            room -= 1
        if room < 1:
            return Text()
        chosen = choose_rows(rows, room)
        text = _table(self._overview, chosen, width)
        if len(chosen) < len(rows):
            text.append(f"\n{_left_out(rows, chosen)}", "dim")
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


def gradient_table(overview: GradientOverview, width: int | None) -> Text:
    """Make the table of all blocks.

    Args:
        overview: What to show.
        width: Columns of the output; `None` where there is room for everything.
    """
    return _table(overview, overview.rows, width)


def gradient_findings(overview: GradientOverview, width: int | None) -> Text:
    """Tell each finding with its evidence and suggestion, or that there is none.

    Args:
        overview: What to tell.
        width: Columns of the output; `None` leaves long messages on one line.
    """
    if not overview.findings:
        return Text("no faults found in the gradients\n")
    return findings_text(overview.findings, width)


def _table(overview: GradientOverview, rows: Sequence[GradientRow], width: int | None) -> Text:
    names = [visible(row.block) for row in rows]
    courses = [course_heights(row.course) for row in rows]
    bars = _MOST_BARS
    cells = [
        (name, _norm(row.norm), change_text(row.change), sparkline(course, bars), _verdict(row))
        for name, row, course in zip(names, rows, courses, strict=True)
    ]
    widths = fitting_widths(_HEADER, cells, ("course", "verdict", "block"), ("course", "change"), width)
    cells = [
        (
            shortened(name, widths["block"]),
            norm,
            change,
            sparkline(course, widths.get("course", bars)),
            fitted(verdict, widths["verdict"], right=False).rstrip(),
        )
        for (name, norm, change, _, verdict), course in zip(cells, courses, strict=True)
    ]
    title, *lines = (
        _title(overview.epochs, width),
        *listing(_HEADER, cells, widths, ("norm", "change")).split("\n"),
    )
    for line, row, (*_, verdict) in zip(lines[2:], rows, cells, strict=True):
        line.stylize(_style(row), len(line) - len(verdict))
    return Text("\n").join((title, *lines))


def _title(epochs: Sequence[int], width: int | None) -> Text:
    text = f"gradients of epoch {epochs[-1]:,}"
    since = f", change since epoch {epochs[0]:,}" if len(epochs) > 1 else ""
    return Text(text + since if width is None or len(text + since) <= width else text, "bold")


def _left_out(rows: Sequence[GradientRow], chosen: Sequence[GradientRow]) -> str:
    text = f"{len(rows) - len(chosen):,} more"
    found = sum(bool(row.findings) for row in rows) - sum(bool(row.findings) for row in chosen)
    return f"{text}, {found:,} of them with findings" if found else text


def _norm(norm: float | None) -> str:
    return "-" if norm is None else f"{norm:.3g}"


def change_text(ratio: float | None) -> str:
    """Write a change so that it reads well over orders of magnitude: percent, then a factor.

    Args:
        ratio: The new value over the old one; `None` where there is nothing to compare.
    """
    if ratio is None:
        return "-"
    if ratio == 0 or math.isinf(1 / ratio):
        return "to 0"
    if 0.5 < ratio < 2:
        percent = f"{100 * (ratio - 1):+.0f} %"
        return "0 %" if percent in ("+0 %", "-0 %") else percent
    return f"x{_factor(ratio)}" if ratio > 1 else f"/{_factor(1 / ratio)}"


def _factor(value: float) -> str:
    if value < 9.95:
        return f"{value:.1f}"
    if value < 9999.5:
        return f"{value:.0f}"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def course_heights(course: Sequence[float | None]) -> list[float | str]:
    """Scale norms logarithmically, for a sparkline.

    Returns:
        Shares of the height; `·` for an epoch without gradient, `0` for a norm of zero, which has no
        logarithm, and `!` for one that is not finite.
    """
    logs = [math.log10(norm) for norm in course if norm and math.isfinite(norm)]
    lowest, highest = min(logs, default=0.0), max(logs, default=0.0)
    span = max(highest - lowest, _LEAST_DECADES)
    bottom = (lowest + highest - span) / 2

    def height(norm: float | None) -> float | str:
        if norm is None:
            return "·"
        if not math.isfinite(norm):
            return "!"
        return (math.log10(norm) - bottom) / span if norm else "0"

    return [height(norm) for norm in course]


def _verdict(row: GradientRow) -> str:
    if row.findings:
        return ", ".join(dict.fromkeys(finding.code for finding in row.findings))
    return "ok" if row.norm and math.isfinite(row.norm) else "-"


def _style(row: GradientRow) -> str:
    if row.findings:
        return STYLES[row.findings[0].severity]
    return "green" if _verdict(row) == "ok" else ""
