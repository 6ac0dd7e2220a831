"""A course of values in one line of characters. Every room may import it."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(heights: Sequence[float | str], width: int) -> str:
    """Draw values as bars.

    Args:
        heights: Shares of the highest bar, from 0 to 1, or a character that stands in place of a bar.
        width: Characters to draw at most, from 1. Where there are more values, each stretch of them is drawn
            as its last, unless a character stands among them: what is odd is never passed over.
    """
    count = min(width, len(heights))
    drawn = ""
    begin = 0
    for position in range(count):
        last = position * (len(heights) - 1) // max(count - 1, 1)
        stretch = heights[begin : last + 1]
        drawn += next((sign for sign in stretch if isinstance(sign, str)), _bar(stretch[-1]))
        begin = last + 1
    return drawn


def _bar(height: float | str) -> str:
    return height if isinstance(height, str) else _BARS[round(height * (len(_BARS) - 1))]
