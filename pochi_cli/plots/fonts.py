"""Fonts for names in any script: the usual one, then those of the system for Chinese, Japanese and Korean."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

# What the files of such fonts are called, on Linux, macOS and Windows; the first that is found comes first.
_FILES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"NotoSans(CJK|JP|KR|SC|TC|HK)\b.*(Regular|Bold|VF|wght)",
        r"SourceHanSans.*(Regular|Bold)",
        r"Hiragino|ヒラギノ角ゴシック W[36]|YuGoth[RB]|meiryo|msgothic",
        r"AppleSDGothicNeo|malgun|NanumGothic\.",
        r"PingFang|msyh|simhei|wqy-(zenhei|microhei)",
        r"ipaexg|ipag\b|TakaoGothic|VL-Gothic-Regular",
        r"DroidSansFallback|unifont",
    )
)


@cache
def has_glyph(character: str) -> bool:
    """Whether a character can be drawn; where the usual font lacks it, those of the system are added."""
    from matplotlib.font_manager import FontProperties

    usual = FontProperties().get_family()
    return _has_glyph(usual, character) or _has_glyph(list(add_fallbacks()), character)


@cache
def add_fallbacks() -> tuple[str, ...]:
    """Let text be drawn, glyph by glyph, in the first family that has it.

    This is a setting of matplotlib as a whole, since tick labels are made when a figure is drawn. It adds to
    the user's own: what could be drawn before looks as before. The files are looked up, not matplotlib's
    list of them: that is kept from run to run and knows no new fonts.

    Returns:
        The families, the usual ones first.
    """
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager, get_font

    found = FontProperties().get_family()
    files = sorted(findSystemFonts())
    for pattern in _FILES:
        matching = [file for file in files if pattern.search(Path(file).name)]
        for path in matching:  # of all weights
            fontManager.addfont(path)
        found += [get_font(matching[0]).family_name] if matching else []
    rcParams["font.family"] = found
    return tuple(found)


def _has_glyph(families: list[str], character: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = (findfont(FontProperties(family=[family])) for family in families)
    return any(get_font(file).get_char_index(ord(character)) for file in files)
