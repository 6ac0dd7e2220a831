"""The table of gradients fits every terminal, and hides nothing."""

from __future__ import annotations

import io
import math
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from pochi_cli.gradient_table import (
    LiveGradients,
    change_text,
    course_heights,
    gradient_findings,
    gradient_table,
)
from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.gradient_rows import GradientOverview, survey_gradients
from pochi_cli.sparklines import sparkline
from tests.inspection.traced import make_epochs, make_finding

BLOCKS = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]
PARAMETERS = [f"features.{at // 4}.block.{at % 4}.convolution.weight" for at in range(160)]


def overview_of(names: list[str], epochs: int, findings: list[Finding] | None = None) -> GradientOverview:
    means = {
        name: [math.exp(-epoch / 3 - at / 50) for epoch in range(epochs)] for at, name in enumerate(names)
    }
    return survey_gradients(make_epochs(means), findings or [])


def found_in(names: list[str]) -> list[Finding]:
    return [
        make_finding(names[-1], "dead-block", "error"),
        make_finding(names[1], "unstable", "note"),
        make_finding(names[1], "vanishing", "warning"),
        make_finding(names[1], "non-finite", "error"),
    ]


def live_lines(overview: GradientOverview, width: int, height: int) -> list[str]:
    return drawn(LiveGradients(overview), width, height)


def drawn(table: LiveGradients, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [40, 80, 140])
@pytest.mark.parametrize("names", [BLOCKS, PARAMETERS], ids=["blocks", "parameters"])
@pytest.mark.parametrize("epochs", [1, 6, 1000])
@pytest.mark.parametrize("is_healthy", [True, False])
def test_no_line_is_wider_than_the_terminal(
    width: int, names: list[str], epochs: int, is_healthy: bool
) -> None:
    overview = overview_of(names, epochs, [] if is_healthy else found_in(names))
    whole = gradient_table(overview, width).plain.splitlines()
    assert len(whole) == 3 + len(names)
    live = live_lines(overview, width, 24)
    assert len(live) <= 12
    told = gradient_findings(overview, width).plain.splitlines()
    assert max(map(cell_len, (*whole, *live, *told))) <= width
    for lines in (whole, live):
        assert any("dead-block" in line for line in lines) is not is_healthy


def test_without_a_terminal_nothing_is_cut() -> None:
    text = gradient_table(overview_of(PARAMETERS, 6, found_in(PARAMETERS)), None).plain
    assert all(name in text for name in PARAMETERS)
    assert "non-finite, vanishing, unstable" in text


def test_on_a_narrow_terminal_courses_and_names_keep_their_ends() -> None:
    names = ["conv1", "a.very.long.name.of.a.parameter.weight"]
    overview = overview_of(names, 1000)
    rows = [line.split() for line in gradient_table(overview, 60).plain.splitlines()[3:]]
    assert [row[3] for row in rows] == ["█▇▇▆▅▅▄▃▂▂▁"] * 2
    (_, (name, *_)) = [line.split() for line in gradient_table(overview, 45).plain.splitlines()[3:]]
    assert re.fullmatch(r"a\.ver.*….*ight", name)


def test_a_live_table_follows_the_size_of_the_terminal() -> None:
    table = LiveGradients(overview_of(PARAMETERS, 6))
    lines = [drawn(table, width, height) for width, height in ((140, 40), (40, 40), (40, 16))]
    assert list(map(len, lines)) == [20, 20, 8]
    assert max(map(cell_len, lines[1])) <= 40


def test_the_cells() -> None:
    means: dict[str, list[float | None]] = {
        "conv1": [1.0, 0.5, 0.88],
        "layer1": [0.001, 0.1, 12.0],
        "layer2": [1.0, None, None],
        "layer3": [1.0, 0.0, 0.0],
        "layer4": [1.0, math.nan, math.inf],
    }
    findings = [make_finding("layer3", "dead-block")] * 2
    title, header, rule, *rows = gradient_table(
        survey_gradients(make_epochs(means), findings), 80
    ).plain.splitlines()
    assert title == "gradients of epoch 3, change since epoch 1"
    assert header.split() == ["block", "norm", "change", "course", "verdict"]
    assert set(rule) == {"─"}
    assert [row.split() for row in rows] == [
        ["conv1", "0.88", "-12", "%", "▆▃▅", "ok"],
        ["layer1", "12", "x1.2e4", "▁▄█", "ok"],
        ["layer2", "-", "-", "▅··", "-"],
        ["layer3", "0", "to", "0", "▅00", "dead-block"],
        ["layer4", "inf", "-", "▅!!", "-"],
    ]


def test_after_one_epoch_there_is_no_change() -> None:
    lines = gradient_table(overview_of(BLOCKS, 1), 80).plain.splitlines()
    assert lines[0] == "gradients of epoch 1"
    assert lines[3].split() == ["conv1", "1", "-", "▅", "ok"]


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (None, "-"),
        (1.0, "0 %"),
        (0.999, "0 %"),
        (0.88, "-12 %"),
        (1.5, "+50 %"),
        (2.0, "x2.0"),
        (0.5, "/2.0"),
        (3.44, "x3.4"),
        (34.4, "x34"),
        (1 / 344, "/344"),
        (123456.0, "x1.2e5"),
        (1e-12, "/1.0e12"),
        (0.0, "to 0"),
        (1e-320, "to 0"),
    ],
)
def test_a_change_reads_well_over_orders_of_magnitude(ratio: float | None, text: str) -> None:
    assert change_text(ratio) == text


def test_a_course_is_logarithmic_and_noise_is_flat() -> None:
    assert sparkline(course_heights([1e-6, 1e-4, 1e-2, 1e0]), 4) == "▁▃▆█"
    assert sparkline(course_heights([1.0, 1.02, 0.99, 1.01]), 4) in ("▅▅▅▅", "▄▅▄▅", "▄▅▄▄", "▅▅▄▅")
    assert course_heights([None, 0.0, math.nan, math.inf]) == ["·", "0", "!", "!"]


def test_a_live_table_without_room_shows_what_matters() -> None:
    overview = overview_of(PARAMETERS, 6, found_in(PARAMETERS))
    *_, first, second, third, fourth, last = live_lines(overview, 80, 16)
    assert [line.split()[0] for line in (first, second, third, fourth)] == [
        PARAMETERS[at] for at in (1, 159, 0, 158)
    ]
    assert [line.split()[-1] for line in (second, third, fourth)] == ["dead-block", "ok", "ok"]
    assert first.endswith("  non-finite, va…")
    assert last == "156 more"
    *_, only, last = live_lines(overview, 80, 10)
    assert "non-finite" in only
    assert last == "159 more, 1 of them with findings"
    assert live_lines(overview, 80, 9) == []


def test_where_bars_cannot_be_written_there_is_no_live_table() -> None:
    file = io.TextIOWrapper(io.BytesIO(), "ascii")
    console = Console(file=file, width=80, height=24, force_terminal=True)
    with console.capture() as capture:
        console.print(LiveGradients(overview_of(BLOCKS, 6)))
    assert capture.get() == ""


def test_findings_are_told_with_evidence_and_suggestion() -> None:
    overview = overview_of(BLOCKS, 6, [make_finding("layer4"), make_finding("bn1", "vanishing", "note")])
    assert gradient_findings(overview, 60).plain.splitlines() == [
        "error[dead-block]: layer4 gets no gradient",
        "  = note: the norms of layer4 were exactly 0 at 23 of 23",
        "          steps of the epochs 1 to 3",
        '  = help: learn faster: layer_rates."layer4" = 0.1, or begin',
        "          from other weights",
        "",
        "note[vanishing]: bn1 gets no gradient",
        "  = note: the norms of bn1 were exactly 0 at 23 of 23 steps",
        "          of the epochs 1 to 3",
        '  = help: learn faster: layer_rates."bn1" = 0.1, or begin',
        "          from other weights",
    ]
    assert gradient_findings(overview_of(BLOCKS, 6), 60).plain == "no faults found in the gradients\n"


@pytest.mark.parametrize(("severity", "style"), [("error", "bold red"), ("warning", "bold yellow")])
def test_the_verdict_has_the_colour_of_the_worst(severity: str, style: str) -> None:
    worst = make_finding("conv1", "exploding", "error" if severity == "error" else "warning")
    table = gradient_table(overview_of(["conv1"], 6, [make_finding("conv1", "unstable", "note"), worst]), 80)
    coloured = {table.plain[span.start : span.end]: span.style for span in table.spans}
    assert coloured["exploding, unstable"] == style


def test_names_give_the_terminal_no_orders() -> None:
    evil = "a\x1b[31mb\nc\td\u202e[bold]"
    overview = overview_of([evil, "花" * 40], 6, [make_finding(evil)])
    for text in (gradient_table(overview, 80).plain, gradient_findings(overview, 80).plain):
        assert "a\\u001b[31mb\\nc\\td\\u202e[bold]" in text
        assert not set(text) & set("\x1b\t\u202e")
    lines = live_lines(overview, 40, 24)
    assert len(lines) == 5
    assert max(map(cell_len, lines)) <= 40
