"""Places of keys and values, held against what the parser reads at them."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from pochi_cli.config.spans import SourceText, TomlIndex
from pochi_cli.errors import KeyPath, Span

CONFIGS = Path(__file__).parent.parent.parent / "configs"


def paths(node: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """All key paths of parsed values."""
    if path:
        yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from paths(value, (*path, key))
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from paths(value, (*path, position))


def cut(text: str, span: Span | None) -> str:
    """The text of a span."""
    assert span is not None
    assert span.line and span.column and span.end_line and span.end_column
    lines = text.split("\n")
    assert span.text == lines[span.line - 1]
    inside = lines[span.line - 1 : span.end_line]
    inside[-1] = inside[-1][: span.end_column - 1]
    inside[0] = inside[0][span.column - 1 :]
    return "\n".join(inside)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


def check(text: str) -> None:
    """Hold the index of a text against the parser."""
    raw = tomllib.loads(text)
    index = TomlIndex(SourceText(text, "file"))
    values = dict(paths(raw))
    assert set(index) == set(values)
    for path, value in values.items():
        key, place = index.key(path), index.value(path)
        written = cut(text, place)
        if is_header(key, place):
            assert isinstance(value, dict | list)
            assert (written[0], written[-1]) == ("[", "]")
        elif not isinstance(value, dict) or written[0] == "{":
            assert same(tomllib.loads(f"value = {written}")["value"], value), (path, written)
        if isinstance(path[-1], str):
            assert list(tomllib.loads(f"{cut(text, key)} = 0")) == [path[-1]]


def is_header(key: Span | None, value: Span | None) -> bool:
    """The key of a header lies inside of it, every other key before its value."""
    assert key and value and key.line and value.line and key.column and value.column
    return (key.line, key.column) > (value.line, value.column)


HAND_WRITTEN = {
    "nested tables": "[a]\nb = 1\n[a.c]\nd = 2\n[a.c.e]\n",
    "a table after its own parts": "[a.b.c]\nd = 1\n[a.b]\ne = 2\n[a]\nf = 3\n",
    "arrays of tables": "[[a]]\nb = 1\n[[a]]\n[a.c]\nd = 2\n[[a.e]]\nf = 3\n[[a.e]]\nf = 4\n[[a]]\n",
    "dotted keys": "a.b.c = 1\na.b.d = 2\na . e = 3\n[t]\nu.v = 4\nu.w.x = 5\n",
    "quoted keys": (
        '"a b" = 1\n\'c.d\' = 2\n"e\\"f".\'g\' = 3\n"\\u00e9" = 4\n"" = 5\n["h.i".\'j\']\nk = 6\n'
    ),
    "inline tables": "a = { b = 1, c.d = 2, 'e f' = { g = [ { h = 3 } ] } }\nempty = {}\n",
    "arrays": (
        "a = [1, 2,3 , [4,[5]], []]\nb = [ # one\n  1, # two\n\n  2 # three\n  ,\n]\n"
        "c = [{ d = 1 }, { d = 2 }]\n"
    ),
    "strings": (
        'a = "# no comment = [" # comment ] }\nb = \'c:\\\'\nc = "\\\\"\nd = "\\""\n'
        'e = """\none "two" ""\\"\n"""\nf = \'\'\'\nthree \' four\'\' ]\n\'\'\'\n'
        "g = \"\"\"\"five\"\"\"\"\"\nh = ''''six'''''\ni = \"\"\nj = ''\n"
        "k = [\"\"\"\n]\"\"\", '''}''']\n"
    ),
    "scalars": (
        "a = +1_000\nb = 0xff\nc = -inf\nd = nan\ne = 1e-3\nf = true\ng = 1979-05-27 07:32:00.5-07:00\n"
        "h = 1979-05-27T07:32:00Z\ni = 07:32:00\nj = [1979-05-27 , 1979-05-27 07:32:00]\nk = -0.0\n"
    ),
    "wide and combining characters": 'a = "日本語" # 漢字\n"日本" = [ "e\u0301", "👩‍👩‍👧" , "ab" ]\n',
    "spaces": "\t a \t = \t 1 \t # c\n [ b ] # d\n\t[[ c . d ]]\n\te=2\n",
    "nothing": "",
    "only comments": "# a = 1\n\n   # [b]",
    "no last line end": "a = 1",
    "comments with brackets": "a = [ # ]\n # }\n 1 ]\nb = 2 # '''\nc = 3 # \"\"\"\n",
    "keys that look like values": "1 = 1\n-_ = 2\ntrue = 3\n3.2 = 4\n[1979-05-27]\n",
}


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_hand_written(name: str) -> None:
    check(HAND_WRITTEN[name])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_configs(path: Path) -> None:
    check(path.read_text("utf-8"))


def test_lines_and_columns() -> None:
    text = '# one\n[a]\n  "日本" = { b = "x", c = [1,\n 22 ] }\n'
    index = TomlIndex(SourceText(text, "file"))
    key, value = index.key(("a", "日本", "c")), index.value(("a", "日本", "c"))
    assert key == Span("file", 3, 21, 3, 22, text.split("\n")[2])
    assert value == Span("file", 3, 25, 4, 6, text.split("\n")[2])
    assert index.value(("a", "日本", "c", 1)) == Span("file", 4, 2, 4, 4, " 22 ] }")
    assert index.key(("a", "日本", "c", 1)) == index.value(("a", "日本", "c", 1))
    assert index.value(("a",)) == Span("file", 2, 1, 2, 4, "[a]")
    assert index.key(("a",)) == Span("file", 2, 2, 2, 3, "[a]")
    assert index.key(("b",)) is None


def test_too_deep_is_left_out_but_passed_over() -> None:
    text = "a = " + "[" * 90 + "1" + "]" * 90 + "\nb" + ".c" * 90 + " = 2\n[d" + ".e" * 90 + "]\nf = 3\n"
    tomllib.loads(text)
    index = TomlIndex(SourceText(text, "file"))
    assert cut(text, index.key(("b",))) == "b"
    assert cut(text, index.key(("d",))) == "d"
    assert max(map(len, index)) <= 41


KEYS = st.one_of(st.text("ab-_1", min_size=1, max_size=3), st.text(max_size=3))
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=8),
    st.text("\"'\\\n#]}=, ", max_size=8),
    st.dates(),
    st.datetimes(),
    st.times(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(raw=st.dictionaries(KEYS, VALUES, max_size=5), multiline=st.booleans())
def test_written_by_a_library(raw: dict[str, Any], multiline: bool) -> None:
    check(tomli_w.dumps(raw, multiline_strings=multiline))


LINES = st.sampled_from(
    [
        *("a = 1", "b = [1, { c = 2 }]", "b.c = 1", "c.d.e = 'x' # y", '"f g" = """\nh = 1\n"""', "i = {}"),
        *("[a]", "[b]", "[b.c]", "[b.c.d]", "[[j]]", "[[j.k]]", "[j.l]", "[ 'f g' ]", "[[b.m]]", "[j.l.n]"),
        *("  o = '''p''' ", "q.r = 2020-01-01", "q.s = [\n  1, # t\n  2,\n]", "", "# [u]"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(lines=st.lists(LINES, max_size=12), comment=st.booleans())
def test_any_lines_that_the_parser_takes(lines: list[str], comment: bool) -> None:
    text = "# é日\n" if comment else ""
    for line in lines:
        try:
            tomllib.loads(text + line)
        except tomllib.TOMLDecodeError:
            continue
        text += f"{line}\n"
    check(text)
