"""Names in any script are drawn, or written as escapes where no font has them."""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.font_manager import findSystemFonts

from pochi_cli.plots import fonts, style
from pochi_cli.plots.files import save_figure

SCRIPTS = {"Chinese": "猫科动物", "Japanese": "ねこの層", "Korean": "고양이"}

needs_font = pytest.mark.skipif(
    not any("CJK" in path for path in findSystemFonts()),
    reason="no font for Chinese, Japanese and Korean is installed",
)


@needs_font
@pytest.mark.parametrize("name", SCRIPTS.values(), ids=SCRIPTS)
def test_names_are_drawn_in_their_own_script(name: str, tmp_path: Path) -> None:
    assert style.drawable(name) == name
    figure, axes = style.new_axes()
    axes.set_title(f"layer1.{name}")
    axes.set_xticks([0.5], [name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a glyph that is missing
        save_figure(figure, tmp_path / "names.png")


@needs_font
def test_fonts_are_added_to_the_usual_one() -> None:
    assert fonts.add_fallbacks()[0] == "sans-serif"
    assert mpl.rcParams["font.family"] == list(fonts.add_fallbacks())
    assert len(fonts.add_fallbacks()) > 1


def test_what_no_font_has_is_an_escape() -> None:
    assert style.drawable("a\U000e1234") == r"a\U000e1234"


def test_what_the_usual_font_has_is_drawn() -> None:
    assert style.drawable("layer1.µ…–×") == "layer1.µ…–×"
