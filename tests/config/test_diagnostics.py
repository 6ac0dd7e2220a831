"""The forms of a diagnostic: text with its source line, JSON, and workflow annotations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from pochi_cli.characters import visible
from pochi_cli.config.diagnostics import render, summary, to_annotation, to_record
from pochi_cli.errors import Diagnostic, Note, Span


def text(diagnostic: Diagnostic, width: int | None = None) -> list[str]:
    return ["".join(fragment for fragment, _ in line) for line in render(diagnostic, width)]


EPOCH = Diagnostic(
    "unknown-key",
    "unknown key `epoch`",
    ("epoch",),
    help="did you mean `epochs`? (required, and missing)",
    span=Span("configs/flowers.toml", 10, 1, 10, 6, "epoch = 30"),
)
WEIGHTS = Diagnostic(
    "class-weights-length",
    "class_weights has 3 entries, num_classes is 4",
    ("class_weights",),
    help='give one weight per class, or "balanced"',
    notes=(
        Note("num_classes is set here", ("num_classes",), Span("configs/flowers.toml", 4, 15, 4, 16, "")),
    ),
    span=Span("configs/flowers.toml", 31, 17, 31, 32, "class_weights = [1.0, 2.0, 1.5]"),
)


def test_the_text_is_that_of_the_design() -> None:
    assert text(EPOCH) == [
        "error[unknown-key]: unknown key `epoch`",
        "  --> configs/flowers.toml:10:1",
        "   |",
        "10 | epoch = 30",
        "   | ^^^^^ did you mean `epochs`? (required, and missing)",
    ]
    assert text(WEIGHTS) == [
        "error[class-weights-length]: class_weights has 3 entries, num_classes is 4",
        "  --> configs/flowers.toml:31:17",
        "   |",
        "31 | class_weights = [1.0, 2.0, 1.5]",
        '   |                 ^^^^^^^^^^^^^^^ give one weight per class, or "balanced"',
        "   |",
        "   = note: num_classes is set at configs/flowers.toml:4:15",
    ]


def test_without_a_place_or_without_a_line() -> None:
    bare = Diagnostic("conflict", "a and b", severity="warning", help="keep one", notes=(Note("c"),))
    assert text(bare) == ["warning[conflict]: a and b", "  = help: keep one", "  = note: c"]
    missing = Diagnostic("missing-key", "`epochs` is missing", help="add it", span=Span("a.toml", 1, 1, 1, 1))
    assert text(missing) == ["error[missing-key]: `epochs` is missing", " --> a.toml:1:1", "  = help: add it"]


def test_a_value_of_several_lines_is_underlined_to_the_end_of_its_first() -> None:
    span = Span("a.toml", 2, 5, 4, 2, "a = [1,  ")
    assert text(Diagnostic("x", "y", span=span))[-1] == "  |     ^^^"


def test_an_end_is_marked_by_one_column() -> None:
    assert text(Diagnostic("x", "y", span=Span("a.toml", 1, 4, 1, 4, "a ="))) == [
        "error[x]: y",
        " --> a.toml:1:4",
        "  |",
        "1 | a =",
        "  |    ^",
    ]


def test_wide_combining_and_hidden_characters_keep_the_underline_in_place() -> None:
    line = 'e\u0301 "日本" = \t"x\x1b" # \u202e'
    start = line.index('"x')
    lines = text(Diagnostic("x", "y", span=Span("a.toml", 1, start + 1, 1, start + 5, line)))
    assert lines[-2] == '1 | e\u0301 "日本" =     "x�" # �'
    shown = lines[-2].index('"x') + 2  # two of the characters before take two columns, one takes none
    assert lines[-1] == "  |" + " " * (shown - 1 - len("  |")) + "^^^^"
    assert cell_len(lines[-2][: lines[-2].index('"x')]) == lines[-1].index("^")


def test_control_characters_are_written_out() -> None:
    assert visible("a\nb\x1b[31m\u202e\u2028花") == "a\\nb\\u001b[31m\\u202e\\u2028花"
    diagnostic = Diagnostic("x", "a\nb", help="c\rd", notes=(Note("e\x07"),), span=Span("f\ng"))
    assert text(diagnostic) == [
        "error[x]: a\\nb",
        " --> f\\ng",
        "  = help: c\\rd",
        "  = note: e\\u0007",
    ]


@pytest.mark.parametrize("width", [40, 80, 140])
@settings(max_examples=30, deadline=None)
@given(
    before=st.text("ab 日é\t", max_size=200),
    marked=st.text("ab日é=", min_size=1, max_size=200),
    after=st.text("ab 日é\t", max_size=200),
    message=st.text("abc 日", max_size=200),
    remedy=st.one_of(st.none(), st.text("abc 日", max_size=200)),
)
def test_nothing_is_wider_than_the_terminal(
    width: int, before: str, marked: str, after: str, message: str, remedy: str | None
) -> None:
    line = before + marked + after
    span = Span("a.toml", 123, len(before) + 1, 123, len(before) + len(marked) + 1, line)
    diagnostic = Diagnostic("wrong-type", message, help=remedy, notes=(Note(message),), span=span)
    lines = text(diagnostic, width)
    assert all(cell_len(part) <= width for part in lines)
    assert any("^" in part for part in lines)
    told = "".join(lines).replace(" ", "")
    assert message.replace(" ", "") in told
    assert (remedy or "").replace(" ", "") in told


def test_a_very_long_line_is_cut_around_its_place() -> None:
    line = "x" * 5000 + "bad" + "y" * 5000
    lines = text(Diagnostic("x", "y", span=Span("a.toml", 1, 5001, 1, 5004, line)), 80)
    assert len(lines[-2]) <= 80
    assert lines[-2][lines[-1].index("^") :].startswith("bad")
    assert lines[-1].count("^") == 3
    assert (lines[-2][4], lines[-2][-1]) == ("…", "…")


def test_summary() -> None:
    doubt = Diagnostic("x", "y", severity="warning")
    assert summary([]) == "0 errors, 0 warnings"
    assert summary([EPOCH, doubt, doubt], "a.toml") == "1 error, 2 warnings in a.toml"


def test_a_record_has_the_promised_fields() -> None:
    assert to_record(WEIGHTS) == {
        "code": "class-weights-length",
        "severity": "error",
        "message": "class_weights has 3 entries, num_classes is 4",
        "file": "configs/flowers.toml",
        "line": 31,
        "column": 17,
        "end_line": 31,
        "end_column": 32,
        "help": 'give one weight per class, or "balanced"',
        "notes": [
            {"message": "num_classes is set here", "file": "configs/flowers.toml", "line": 4, "column": 15}
        ],
    }
    bare = to_record(Diagnostic("x", "y", notes=(Note("z"),)))
    assert [bare[key] for key in ("file", "line", "column", "end_line", "end_column", "help")] == [None] * 6
    assert bare["notes"] == [{"message": "z", "file": None, "line": None, "column": None}]


def test_annotations() -> None:
    assert to_annotation(WEIGHTS) == (
        "::error file=configs/flowers.toml,line=31,col=17,endLine=31,endColumn=32,"
        "title=class-weights-length::"
        'class_weights has 3 entries, num_classes is 4%0Agive one weight per class, or "balanced"%0A'
        "num_classes is set at configs/flowers.toml:4:15"
    )
    span = Span("a,b:c%\n.toml", 1, 2, 3, 4, "")
    assert to_annotation(Diagnostic("x", "50 %\r\n::error::", severity="warning", span=span)) == (
        "::warning file=a%2Cb%3Ac%25%0A.toml,line=1,col=2,endLine=3,title=x::50 %25%0D%0A::error::"
    )
    assert to_annotation(Diagnostic("x", "y")) == "::error title=x::y"
