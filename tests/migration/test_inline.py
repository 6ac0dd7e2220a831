"""Values on one line of TOML."""

from __future__ import annotations

import datetime
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pochi_cli.migration.inline import comment, inline, key_part

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_a_value_is_read_as_it_was(value: object) -> None:
    text = inline(value)
    assert len(text.split("\n")) == 1
    assert repr(tomllib.loads(f"x = {text}")["x"]) == repr(value)


@given(TEXT)
def test_a_key_is_read_as_it_was(name: str) -> None:
    assert tomllib.loads(f"{key_part(name)} = 1") == {name: 1}


@given(st.text())
def test_any_comment_is_one(text: str) -> None:
    assert tomllib.loads(comment(text)) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "0.0001"),
        (float("-inf"), "-inf"),
        ((1, 2.0), "[1, 2.0]"),
        ({"a b": True, "c": {}}, '{ "a b" = true, c = {} }'),
        ("混同\t\x7f", '"混同\\t\\u007F"'),
    ],
)
def test_how_values_look(value: object, text: str) -> None:
    assert inline(value) == text


@pytest.mark.parametrize("value", [None, b"", {1}, [None], datetime.date.min])
def test_what_toml_lacks_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        inline(value)
