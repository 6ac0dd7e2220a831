"""What is printed is harmless, whatever files say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest

from pochi_cli import console
from pochi_cli.characters import veiled, visible, visible_lines, without_surrogates
from pochi_cli.errors import RunError

EVIL = "a\x1b[31mb\x07\x9b\u202ec\rd"
HARMLESS = "a\\u001b[31mb\\u0007\\u009b\\u202ec\\rd"


@pytest.mark.parametrize(
    "show",
    [
        lambda: console.show(EVIL),
        lambda: console.note(EVIL),
        lambda: console.show_error(RunError("message", hint=EVIL)),
        lambda: console.show_error(RunError(EVIL)),
        lambda: console.show_fields("title", [("name", EVIL)]),
        lambda: console.show_fields(EVIL, [(EVIL, "value")]),
        lambda: console.show_table(EVIL, ["a"], [["b"]]),
        lambda: console.show_table("title", [EVIL], [["b"]]),
        lambda: console.show_table("title", ["a"], [[EVIL]]),
        lambda: console.show_listing([EVIL], [["b"]], right=(), shortened=(), left_out=()),
        lambda: console.show_listing(["a"], [[EVIL]], right=(), shortened=(), left_out=()),
        lambda: console.show_columns(EVIL, ["a"], [["b", "c"]]),
        lambda: console.show_columns("title", [EVIL], [["b", "c"]]),
        lambda: console.show_columns("title", ["a"], [[EVIL, EVIL]]),
        lambda: console.stderr_console().print(EVIL, markup=False),
    ],
)
def test_text_gives_the_terminal_no_orders(
    show: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    show()
    printed = "".join(capsys.readouterr())
    assert HARMLESS in printed
    assert not set(printed) & set("\x1b\x07\x9b\u202e\r")


def test_markup_and_emoji_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_listing(["a"], [["[bold]:dog:[/bold]"]], right=(), shortened=(), left_out=())
    console.show_columns("[b]", ["[i]"], [["[u]", "[s]"]])
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("[bold]:dog:[/bold]", "[b]", "[i]", "[u]", "[s]"))


def test_line_ends_stay_and_wide_characters_keep_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    console.show("one\ntwo")
    assert capsys.readouterr().out == "one\ntwo\n"
    console.show_listing(["name", "x"], [["花子", "1"], ["abc", "2"]], right=(), shortened=(), left_out=())
    _, _, first, second = capsys.readouterr().out.splitlines()
    assert (first, second) == ("花子  1", "abc   2")


def test_values_are_strict_json_in_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    console.show_values({"a": math.nan, "b": [-math.inf], "花\udcff": "\udcff", "c": "\x1b"})
    text = capsys.readouterr().out
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text) == {"a": "NaN", "b": ["-Infinity"], "花�": "�", "c": "\x1b"}


def test_characters() -> None:
    assert visible(f"{EVIL}\n\t") == f"{HARMLESS}\\n\\t"
    assert visible_lines(f"{EVIL}\n\t") == f"{HARMLESS}\n\t"
    assert veiled("a\x1b\udcff花") == "a��花"
    assert without_surrogates("a\udcff\x1b") == "a�\x1b"
