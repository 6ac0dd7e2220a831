"""Names in any script are drawn, or written as escapes where no font has them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import pytest
from fontTools.fontBuilder import FontBuilder  # type: ignore[import-untyped]
from fontTools.pens.ttGlyphPen import TTGlyphPen  # type: ignore[import-untyped]
from matplotlib.font_manager import findSystemFonts, fontManager

from pochi_cli.plots import fonts, style
from pochi_cli.plots.files import save_figure

SCRIPTS = {"Chinese": "猫科动物", "Japanese": "ねこの層", "Korean": "고양이"}

needs_font = pytest.mark.skipif(
    not any("CJK" in path for path in findSystemFonts()),
    reason="no font for Chinese, Japanese and Korean is installed",
)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the system have no font but the usual one; what was found before and is meanwhile is forgotten."""
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist])
    monkeypatch.setitem(sys.modules, "matplotlib_fontja", None)  # as if it were not installed
    with mpl.rc_context({"font.family": ["sans-serif"]}):
        forget()
        yield
    forget()


def forget() -> None:
    fonts.has_glyph.cache_clear()
    fonts.add_fallbacks.cache_clear()


def install_package(root: Path, characters: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a package that cannot be imported, with a font of one weight and few characters: squares."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 500), (500, 500), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef", *(f"uni{ord(character):04X}" for character in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, characters), names[1:], strict=True)))
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    (root / "matplotlib_fontja" / "fonts").mkdir(parents=True)
    (root / "matplotlib_fontja" / "__init__.py").write_text("raise AssertionError\n")
    builder.save(root / "matplotlib_fontja" / "fonts" / "squares.ttf")
    monkeypatch.delitem(sys.modules, "matplotlib_fontja")
    monkeypatch.syspath_prepend(root)


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


@pytest.mark.usefixtures("bare")
def test_the_font_of_the_optional_package_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install_package(tmp_path, "猫犬", monkeypatch)
    assert style.drawable("猫と犬") == r"猫\u3068犬"
    assert fonts.add_fallbacks() == ("sans-serif", "Squares")
    figure, axes = style.new_axes()
    axes.set_title("猫", fontweight="bold")
    save_figure(figure, tmp_path / "names.png")  # a warning of a glyph that is missing would be an error
    assert not caplog.records  # such as that the font has no bold weight


@needs_font
def test_the_font_of_the_optional_package_is_the_last_resort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    of_system = [path for path in findSystemFonts() if "CJK" in path]
    request.getfixturevalue("bare")
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: of_system)
    install_package(tmp_path, "猫", monkeypatch)
    families = fonts.add_fallbacks()
    assert families[-1] == "Squares"
    assert len(families) > 2


@needs_font
def test_where_all_characters_have_a_font_there_is_no_advice() -> None:
    assert fonts.font_advice(SCRIPTS.values()) is None


@pytest.mark.usefixtures("bare")
def test_what_no_font_has_is_told_with_what_to_install() -> None:
    assert fonts.font_advice(["layer1.µ", "line\nend", "$"]) is None
    assert fonts.font_advice(["混同行列", "cat 混"]) == (
        "no font was found with glyphs for 混同行列: they are drawn as escapes; install a font such as "
        'Debian\'s fonts-noto-cjk, or pip install "pochi[cjk]" for Japanese'
    )
    advice = fonts.font_advice(["一二三四五六七八九十"])
    assert advice is not None
    assert "for 一二三四五六七八 ...: they" in advice


@pytest.mark.usefixtures("bare")
def test_a_font_for_east_asia_is_advised_only_for_its_scripts() -> None:
    thai, beyond = fonts.font_advice(["แมว"]), fonts.font_advice(["\U0001f996"])
    assert thai is not None and beyond is not None
    assert thai.endswith("แมว: they are drawn as escapes; install a font such as Debian's fonts-unifont")
    assert beyond.endswith("\U0001f996: they are drawn as escapes")
