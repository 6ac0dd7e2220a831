"""What the table of gradients says, and which rows of it are shown."""

from __future__ import annotations

import math

import pytest

from pochi_cli.inspection.gradient_rows import GradientRow, choose_rows, survey_gradients
from tests.inspection.traced import make_epochs, make_finding


def rows_of(found: dict[int, list[str]], count: int) -> list[GradientRow]:
    return [
        GradientRow(
            f"layer{at}",
            (1.0,),
            tuple(make_finding(f"layer{at}", code) for code in found.get(at, [])),
        )
        for at in range(count)
    ]


def test_each_block_has_its_course_and_its_findings() -> None:
    epochs = make_epochs({"conv1": [2.0, 1.0, 0.5], "head": [None, 3.0, 3.0]}, first=4)
    findings = [
        make_finding("head", "unstable", "note"),
        make_finding("elsewhere", "dead-block"),
        make_finding("head", "exploding", "error"),
        make_finding("head", "vanishing", "warning"),
    ]
    overview = survey_gradients(epochs, findings)
    assert overview.epochs == (4, 5, 6)
    assert list(overview.findings) == findings
    conv1, head = overview.rows
    assert (conv1.block, conv1.course, conv1.findings) == ("conv1", (2.0, 1.0, 0.5), ())
    assert (conv1.norm, conv1.change) == (0.5, 0.25)
    assert (head.block, head.course, head.norm) == ("head", (None, 3.0, 3.0), 3.0)
    assert [finding.code for finding in head.findings] == ["exploding", "vanishing", "unstable"]


def test_a_block_that_was_not_traced_before_has_no_course() -> None:
    before, after = make_epochs({"a": [1.0]}), make_epochs({"a": [2.0], "b": [3.0]}, first=2)
    a, b = survey_gradients([*before, *after], []).rows
    assert (a.course, b.course) == ((1.0, 2.0), (None, 3.0))


@pytest.mark.parametrize(
    ("course", "change"),
    [
        ((2.0,), None),
        ((2.0, 9.0, 3.0), 1.5),
        ((2.0, 0.0), 0.0),
        ((0.0, 2.0), None),
        ((0.0, 0.0), None),
        ((None, 2.0), None),
        ((2.0, None), None),
        ((math.nan, 2.0), None),
        ((2.0, math.nan), None),
        ((math.inf, 2.0), None),
        ((2.0, math.inf), None),
        ((1e-300, 1e300), None),
    ],
)
def test_a_change_is_told_where_there_is_one(course: tuple[float | None, ...], change: float | None) -> None:
    assert GradientRow("conv1", course, ()).change == change


def test_where_all_fit_they_keep_the_order_of_the_network() -> None:
    rows = rows_of({4: ["dead-block"]}, 6)
    assert choose_rows(rows, 6) == rows


def test_findings_come_first_and_the_rest_is_spread_over_the_network() -> None:
    chosen = choose_rows(rows_of({40: ["dead-block"], 7: ["vanishing"]}, 160), 7)
    assert [row.block for row in chosen] == [
        "layer7", "layer40", "layer0", "layer41", "layer80", "layer119", "layer159",
    ]  # fmt: skip


def test_the_worst_findings_are_shown_where_not_all_fit() -> None:
    rows = [
        GradientRow("note", (1.0,), (make_finding("note", severity="note"),)),
        GradientRow("warning", (1.0,), (make_finding("warning", severity="warning"),)),
        GradientRow("none", (1.0,), ()),
        GradientRow("error", (1.0,), (make_finding("error"),)),
    ]
    assert [row.block for row in choose_rows(rows, 3)] == ["error", "warning", "note"]
    assert [row.block for row in choose_rows(rows, 1)] == ["error"]
    assert [row.block for row in choose_rows([rows[2]] * 3, 1)] == ["none"]
