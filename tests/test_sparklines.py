"""Courses of values in one line."""

from __future__ import annotations

import pytest

from pochi_cli.sparklines import sparkline


@pytest.mark.parametrize(
    ("heights", "width", "expected"),
    [
        ([0, 0.5, 1], 8, "▁▅█"),
        ([0.5], 8, "▅"),
        ([at / 99 for at in range(100)], 8, "▁▂▃▄▅▆▇█"),
        ([0, 1, 0], 1, "▁"),
        ([0, "!", 1], 3, "▁!█"),
        (["!"] + [0.0] * 98 + [1.0], 4, "!▁▁█"),
        ([0.0] * 40 + ["!"] + [0.0] * 59, 4, "▁▁!▁"),
        ([], 8, ""),
    ],
)
def test_the_ends_and_what_is_odd_are_always_drawn(
    heights: list[float | str], width: int, expected: str
) -> None:
    assert sparkline(heights, width) == expected
