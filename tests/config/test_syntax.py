"""Broken TOML: the place, what is wrong in the user's terms, and the likely fix."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pochi_cli.config.spans import SourceText
from pochi_cli.config.syntax import parse_toml
from pochi_cli.errors import ConfigError, Diagnostic
from tests.config.test_messages import jargon


def broken(text: str) -> Diagnostic:
    with pytest.raises(ConfigError) as caught:
        parse_toml(SourceText(text, "file"))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "invalid-toml"
    assert diagnostic.span is not None
    said = re.sub("`.*?`", "", diagnostic.message)  # without the user's own words
    assert jargon(f"{said} {diagnostic.help or ''}") == []
    return diagnostic


# Text with the place marked by < and >, what is said, and a part of the help.
CASES = [
    ("<epochs >3", "a key is not followed by `=`", "write key = value"),
    ("epochs<:> 3", "joined by `=`, not by `:`", None),
    ("a = 1\n<import >torch", "not followed by `=`", "`pochi migrate`"),
    ("x = <=> 3", "second `=`", "write key = value"),
    ("<=> 3", "a key is expected here", "letters, digits"),
    ("<é> = 1", "a key is expected here", "quotes"),
    ("x = <\n>", "a value is missing", "leave the key out"),
    ("x = <#> none", "a value is missing", "leave the key out"),
    ("x = <SGD>", "`SGD` is not a value", 'a string needs quotes: "SGD"'),
    ("x = <data/train> # c", "`data/train` is not a value", 'quotes: "data/train"'),
    ("x = <True>", "`True` is not a value", "write true"),
    ("x = [<False>, 1]", "`False` is not a value", "write false"),
    ("x = <None>", "`None` is not a value", "leave the key out"),
    ("x = <(1>, 2)", "`(1` is not a value", "[1, 2]"),
    ("x = <“abc”>", "is not a value", "straight quotes"),
    ("x = <.5>", "`.5` is not a value", "0.5"),
    ("x = <5.>", "`5.` is not a value", "0.5"),
    ("x = <01>", "`01` is not a value", "a number is written"),
    ("x = <1e-3f>", "`1e-3f` is not a value", "a number is written"),
    ("x = <2026-13-45>", "`2026-13-45` is not a value", "2026-01-31"),
    ("x = <2026-02-30>", "`2026-02-30` is not a date", None),
    ("x = 1 <y = 2>", "the line goes on after its value", "a line of its own"),
    ("x = 1<,>\ny = 2", "the line goes on after its value", "without a comma"),
    ("x = 'it'<s'>", "the string ends before", "double quotes"),
    ('x = "C:<\\d>ata"', "a backslash in double quotes", "single quotes"),
    ('x = "<\\ud800>"', "a backslash in double quotes", "twice"),
    ('x = <"abc>\ny = 1', "a string is not closed", "triple quotes"),
    ("x = <'abc>\ny = 1", "a string is not closed", "triple quotes"),
    ('x = <"abc>', "a string is not closed", "close it"),
    ('a = "b"\nx = <""">abc\nd\n', "a string is not closed", "close it"),
    ("x = <'''>abc\nd\n", "a string is not closed", "close it"),
    ("x = [1<\n>y = 3", "an array is not closed", "`]`"),
    ("x = [1 <2>]", "an array is not closed, or a comma is missing", "comma"),
    ("x = { a = 1<\n>}", "an inline table is not closed", "on one line"),
    ("x = { a = 1, <}>", "comma stands after the last key", "leave it out"),
    ("[a<\n>b = 1", "the header of a table is not closed", "[early_stopping]"),
    ("[<]>", "a table header has no name", "[early_stopping]"),
    ("x = 1 # <\a>", "a control character (U+0007)", "remove it"),
    ("x = 1<\0>", "a control character (U+0000)", "remove it"),
    ("x = <\0>", "a control character (U+0000)", "remove it"),
    ("a = 1\n<a> = 2\n", "`a` is set twice", "keep one"),
    ("a = 1\n<a> = { a = 3 }", "`a` is set twice", "keep one"),
    ("[a]\nb = 1\n[<a>]\n", "`a` is set twice", "keep one"),
    ("a = [1]\n[[<a>]]", "`a` is set twice", "keep one"),
    ("a = { b = 1 }\na.<c> = 2", "`a` is complete", "in one place"),
    ("a = { b = 1 }\n[a.<c>]", "`a` is complete", "in one place"),
    ("x = { a = 1, <a> = 2 }", "`a` is set twice in one table", "keep one"),
]


@pytest.mark.parametrize(("marked", "message", "remedy"), CASES)
def test_what_is_said(marked: str, message: str, remedy: str | None) -> None:
    start, end = marked.index("<"), marked.index(">") - 1
    text = marked.replace("<", "").replace(">", "")
    diagnostic = broken(text)
    assert message in diagnostic.message
    assert (diagnostic.help is None) if remedy is None else (remedy in str(diagnostic.help))
    assert diagnostic.span == SourceText(text, "file").span(start, end)


def test_a_carriage_return_that_ends_no_line() -> None:
    diagnostic = broken("a = 1\nb = 2\r\r\nc = 3".replace("\r\n", "\n"))
    assert "U+000D" in diagnostic.message
    assert str(diagnostic.span) == "file:2:6"


def test_both_places_of_what_is_set_twice() -> None:
    diagnostic = broken("a = 1\n[b]\nc.d = 1\n[b.c.d]\n")
    assert str(diagnostic.span) == "file:4:6"
    (note,) = diagnostic.notes
    assert (note.message, note.key, str(note.span)) == ("it is set first here", ("b", "c", "d"), "file:3:3")


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("a = 1\nepochs = " + "9" * 5000, "too many digits", "file:2:10"),
        ("a = 1\nepochs" + ".a" * 5000 + " = 1", "more than 100 parts", "file:2:1"),
        ("[epochs" + " . 'a'" * 500_000 + "]", "more than 100 parts", "file:1:2"),
        ("x = {b" + ".a" * 500_000 + " = 1}", "more than 100 parts", "file:1:6"),
        ("mean = " + "[" * 5000 + "]" * 5000, "nested too deeply", "file"),
        ("mean = " + "{a=" * 5000 + "1" + "}" * 5000, "nested too deeply", "file"),
    ],
)
def test_beyond_the_parser(text: str, said: str, place: str) -> None:
    diagnostic = broken(text)
    assert said in diagnostic.message
    assert str(diagnostic.span) == place


FRAGMENTS = st.sampled_from(
    [
        *(
            '"',
            "'",
            '"""',
            "'''",
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "=",
            ".",
            ",",
            "\n",
            "\\",
            "#",
            "a",
            "b",
            " ",
        ),
        *(
            "1",
            "é",
            "\0",
            "\x1b",
            "\r",
            "a = 1\n",
            "[a]\n",
            "[[a]]\n",
            "a.b = 2\n",
            "b = {c=1,c=2}",
            "a={b=[\n",
        ),
    ]
)


@settings(max_examples=800, deadline=None)
@given(text=st.one_of(st.text(max_size=40), st.lists(FRAGMENTS, max_size=14).map("".join)))
def test_any_text(text: str) -> None:
    text = text.replace("\r", "")
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        diagnostic = broken(text)
        span = diagnostic.span
        assert span is not None
        assert span.line and span.column and span.end_line and span.end_column
        lines = text.split("\n")
        assert 1 <= span.line <= span.end_line <= len(lines)
        assert 1 <= span.column <= len(lines[span.line - 1]) + 1
        assert span.end_column <= len(lines[span.end_line - 1]) + 1
        assert (span.line, span.column) <= (span.end_line, span.end_column)
    else:
        parse_toml(SourceText(text, "file"))


# What other formats and keyboards leave; marked as above.
FOREIGN = [
    ("x = <{>\n  a = 1,\n}", "an inline table goes on one line", "[[train_transform]]"),
    ("x = <{> # steps\n  a = 1,\n}", "an inline table goes on one line", "[table]"),
    ("x = <{> a = 1,\n\n  b = 2 }", "an inline table goes on one line", "[table]"),
    ("x = [{ b = { c = 1 } }, <{> a = { b = 1 },\n b = 2 }]", "an inline table goes on one line", "[table]"),
    ("epochs <＝> 3", "a full-width `＝` (U+FF1D)", "write `=`"),
    ("epochs<：> 3", "a full-width `：` (U+FF1A)", "write `=`"),
    ("x = [1<，> 2]", "a full-width `，` (U+FF0C)", "write `,`"),
    ("x = { a = 1<，> b = 2 }", "a full-width `，`", "write `,`"),
    ("x = <３>", "a full-width `３` (U+FF13)", "write `3`"),
    ("x = 3<１２>", "full-width `１２`", "write `12`"),
    ("<ｅｐ>ochs = 3", "full-width `ｅｐ`", "write `ep`"),
    ("<【>a】", "U+3010", "write `[`"),
    ("epochs<　>= 3", "a full-width space (U+3000)", "plain space"),
    ("epochs<\u00a0>= 3", "a no-break space (U+00A0)", "plain space"),
    ("epochs<\u200b> = 3", "an invisible character (U+200B)", "remove it"),
    ('x = "abc<”>\ny = 1', "`”` (U+201D) does not close a string", 'write "'),
    ("x = 'abc<’>", "`’` (U+2019) does not close a string", "write '"),
    ("<//> a comment", "a comment does not begin with `//`", "write #"),
    ("<;> a comment", "a comment does not begin with `;`", "write #"),
    ("x = 1 <//> a comment", "a comment does not begin with `//`", "write #"),
    ("x = [1, 2 <;> a comment\n]", "a comment does not begin with `;`", "write #"),
    ("x = 1<;> y = 2", "`;` is not needed after a value", "leave it out"),
    ('x = "a"<;>', "`;` is not needed after a value", "leave it out"),
    ('<{>"epochs": 3}', "this looks like JSON", "key = value"),
    ('\n<{>\n  "epochs": 3\n}', "this looks like JSON", "key = value"),
    ("<--->\nepochs: 3", "this looks like YAML", "key = value"),
    ('x = {"a"<:> 1}', "joined by `=`, not by `:`", 'write { "a" = ... }'),
    ("x = { b = 1, a<:> 1}", "joined by `=`, not by `:`", "write { a = ... }"),
    ("# config\n<from >os import path", "not followed by `=`", "`pochi migrate`"),
    ("a = 1\nx = <dict(>a=1)", "`dict(...)` is not a value", "write { a = 1 }"),
    ("x = [<list(>range(3))]", "`list(...)` is not a value", "write [1, 2]"),
    ("x = <transforms.Compose(>[1])", "`transforms.Compose(...)` is not a value", "`pochi migrate`"),
    ("x = [<i> for i in range(3)]", "TOML has no loops", "write the entries"),
    ("x = [0.1 <*> i for i in range(3)]", "TOML has no loops", "write the entries"),
    ("x = <0,001>", "`0,001` has a comma in it", "write 0.001"),
    ("x = <1,5> # half", "`1,5` has a comma in it", "write 1.5"),
    ("x = <1,000>", "`1,000` has a comma in it", "write 1.000 or 1000"),
    ("x = { a = <0,5>}", "`0,5` has a comma in it", "write 0.5"),
    ('x = "<\x01>"', "a control character (U+0001)", "\\u0001"),
    ('x = "<\x7f>"', "a control character (U+007F)", "\\u007F"),
]


@pytest.mark.parametrize(("marked", "message", "remedy"), FOREIGN)
def test_what_is_not_of_toml(marked: str, message: str, remedy: str | None) -> None:
    test_what_is_said(marked, message, remedy)


@pytest.mark.parametrize("text", ['"""A config."""\nimport torch\n', "# c\n'''A config.\n'''\nepochs = 3\n"])
def test_a_python_file_with_a_docstring(text: str) -> None:
    assert "`pochi migrate`" in str(broken(text).help)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1 // y = 2", "the line goes on after its value"),
        ("x = //server/data", "is not a value"),
        ("x = [1, 2\ny = 0,5", "an array is not closed"),
        ("x = 3 4,5", "the line goes on after its value"),
        ("x = '花，'y", "the string ends before"),
        ("x = [a] # for x in y", "`a` is not a value"),
        ("a = { b = 1 }\nc.\nd = 2", "a key is expected here"),
        ("a = 1\n{ b = 2 }", "a key is expected here"),
    ],
)
def test_what_only_resembles_other_formats(text: str, message: str) -> None:
    assert message in broken(text).message


def test_a_decimal_comma_and_one_between_thousands() -> None:
    assert broken("x = 0,001").help == "write 0.001"
    assert broken("x = 1,000").help == "write 1.000 or 1000"
