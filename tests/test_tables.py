"""Tables fit the terminal that they are made for."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from pochi_cli.tables import column_tables, fitting_widths, listing, shortened

RUNS = [f"20261120_{number:03d}" for number in range(1, 8)]
ROWS = [["status", *["finished"] * 7], ["a.long.key", *["a value of several words"] * 6, "x" * 60]]


def drawn(room: int | None) -> list[list[str]]:
    tables = []
    for table, width in column_tables(RUNS, ROWS, room):
        console = Console(file=io.StringIO(), width=room or width)
        with console.capture() as capture:
            console.print(table)
        tables.append(capture.get().splitlines())
    return tables


@pytest.mark.parametrize("room", [30, 50, 80, 140, None])
def test_columns_that_do_not_fit_go_on_below(room: int | None) -> None:
    tables = drawn(room)
    assert [name for lines in tables for name in lines[0].split()] == RUNS
    for lines in tables:
        assert any(line.startswith("status") and "finished" in line for line in lines)
        assert room is None or max(map(len, lines)) <= room
    if room is None:
        ((*_, last),) = tables
        assert last.split()[-1] == "x" * 60  # where there is no terminal nothing is folded


@pytest.mark.parametrize("room", [20, 40, 60, None])
def test_a_listing_is_cut_before_columns_are_left_out(room: int | None) -> None:
    header = ("name", "long", "first", "second")
    rows = [("20261120_001", "x" * 40, "1234567890", "1"), ("20261120_002", "花" * 3, "12", "22")]
    widths = fitting_widths(header, rows, ("long",), ("first", "long"), room)
    lines = listing(header, rows, widths, right=("second",)).plain.splitlines()
    assert lines[2].startswith("20261120_001")
    assert [len(line) for line in lines if line.endswith("22")] == [
        len(lines[1]) - (3 if "long" in widths else 0)
    ]
    expected = {
        20: ["name", "second"],
        40: ["name", "long", "second"],
        60: ["name", "long", "first", "second"],
        None: ["name", "long", "first", "second"],
    }
    assert list(widths) == expected[room]
    assert ("…" in lines[2]) == (room in (40, 60))
    assert room is None or max(map(len, lines)) <= room


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("layer4.1.conv2.weight", 21, "layer4.1.conv2.weight"),
        ("layer4.1.conv2.weight", 20, "layer4.1.c…v2.weight"),
        ("layer4.1.conv2.weight", 11, "layer…eight"),
        ("layer4.1.conv2.weight", 1, "…"),
        ("花" * 9, 11, "花花 … 花花"),
    ],
)
def test_a_long_name_loses_its_middle(text: str, width: int, expected: str) -> None:
    assert shortened(text, width) == expected
    assert cell_len(expected) <= width
